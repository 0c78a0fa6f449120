/* Login load: keeps CONCURRENT sessions going, each greeting, LOGIN, SELECT, LOGOUT, until TOTAL are done.
 * Prints sessions per second, then p50 and p99 of a session in microseconds.
 * usage: load PORT CONCURRENT TOTAL USERS   (users user0…, password "secret") */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum state { GREETING, LOGIN, SELECT, LOGOUT };

struct session {
    int fd;
    enum state state;
    double began;
    size_t used;
    char buffer[16384];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "load: %s: %s\n", what, detail);
    exit(1);
}

static void begin(struct session *s, int epoll, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    int one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect", strerror(errno));
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->state = GREETING;
    s->used = 0;
    s->began = now();
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &event) < 0)
        die("epoll_ctl", strerror(errno));
}

static void say(struct session *s, const char *line, enum state next)
{
    if (write(s->fd, line, strlen(line)) != (ssize_t)strlen(line))
        die("write", strerror(errno));
    s->used = 0;
    s->state = next;
}

/* The last complete line that begins so, or NULL. */
static const char *find(const struct session *s, const char *beginning)
{
    const char *line = s->buffer;
    size_t length = strlen(beginning);

    while (line) {
        if (strncmp(line, beginning, length) == 0 && strchr(line, '\n'))
            return line;
        line = strchr(line, '\n');
        if (line)
            line++;
    }
    return NULL;
}

static void step(struct session *s, int users)
{
    static unsigned count;
    char line[128];

    if (s->state == GREETING && find(s, "* OK")) {
        snprintf(line, sizeof line, "a LOGIN user%u secret\r\n", count++ % users);
        say(s, line, LOGIN);
    } else if (s->state == LOGIN && find(s, "a ")) {
        if (!find(s, "a OK"))
            die("LOGIN", s->buffer);
        say(s, "b SELECT INBOX\r\n", SELECT);
    } else if (s->state == SELECT && find(s, "b ")) {
        if (!find(s, "b OK"))
            die("SELECT", s->buffer);
        say(s, "c LOGOUT\r\n", LOGOUT);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        die("usage", "load PORT CONCURRENT TOTAL USERS");
    int port = atoi(argv[1]), concurrent = atoi(argv[2]), total = atoi(argv[3]), users = atoi(argv[4]);
    int epoll = epoll_create1(0), done = 0, started = 0;
    double *taken = calloc(total, sizeof *taken), from = now();
    struct session *sessions = calloc(concurrent, sizeof *sessions);
    struct epoll_event events[64];

    for (; started < concurrent && started < total; started++)
        begin(&sessions[started], epoll, port);
    while (done < total) {
        int count = epoll_wait(epoll, events, 64, 30000);
        if (count <= 0)
            die("epoll_wait", count ? strerror(errno) : "no answer for 30 seconds");
        for (int i = 0; i < count; i++) {
            struct session *s = events[i].data.ptr;
            ssize_t got = read(s->fd, s->buffer + s->used, sizeof s->buffer - 1 - s->used);
            if (got > 0) {
                s->used += got;
                s->buffer[s->used] = 0;
                step(s, users);
                continue;
            }
            if (s->state != LOGOUT)
                die("connection closed", s->used ? s->buffer : "without a word");
            close(s->fd);
            taken[done++] = now() - s->began;
            if (started < total) {
                started++;
                begin(s, epoll, port);
            }
        }
    }
    double seconds = now() - from;
    qsort(taken, total, sizeof *taken, compare);
    printf("%.1f %.0f %.0f\n", total / seconds, taken[total / 2] * 1e6, taken[total * 99 / 100] * 1e6);
    return 0;
}
