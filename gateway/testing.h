/* testing.h - for the tests of this folder: a client that sends a request as it stands and reads all that comes. After
 * cmocka.h. */
#ifndef GATEWAY_TESTING_H
#define GATEWAY_TESTING_H

#include "gateway.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct http_server *http; /* the gateway that is asked */

static inline void ok(struct status st)
{
    if (st.code)
        fail_msg("%s", st.msg);
}

static inline void connect_to(struct backend *b, const char *name, const char *to, const char *service)
{
    struct rpc_client_config config = {.target = to};

    *b = (struct backend){.name = name, .target = to, .service = service};
    ok(rpc_client_new(&b->client, &config));
}

/* The connection that the request was sent on. */
static inline int ask_on(const char *verb, const char *path, const char *headers, const char *body)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(http))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    dprintf(fd, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n%s", verb, path,
            strlen(body), headers, body);
    return fd;
}

/* Headers and body of the answer; the caller's, to free. */
static inline char *ask(const char *verb, const char *path, const char *headers, const char *body)
{
    int fd = ask_on(verb, path, headers, body);
    struct buf b = BUF_INIT((size_t)8 << 20);
    char block[4096];
    ssize_t n;

    while ((n = recv(fd, block, sizeof block, 0)) > 0)
        buf_add(&b, block, (size_t)n);
    close(fd);
    return buf_take(&b);
}

static inline void expect(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%.2000s", part, text);
}

#endif
