/* guard.h - keeps peers that are slow or silent from holding civetweb's threads, one of which stands behind each open
 * connection. civetweb limits the time between two bytes of a body, not the time of the whole, and knows no limit of
 * idle connections; nor does it tell their sockets. So a thread here looks at all connections ten times a second
 * and shuts the sockets of some down, which ends civetweb's read or write. Private to lib/http. Thread-safe. */
#ifndef HTTP_GUARD_H
#define HTTP_GUARD_H

#include "base/base.h"

#include <stdbool.h>

struct guard;
struct guarded; /* one connection */

/* capacity: connections at once, at most as many guard_open() without their guard_close(). */
struct guard *guard_new(size_t capacity);
void guard_free(struct guard *g);

/* The port of ours that the connections come to. Until then nothing is shut down. */
void guard_set_port(struct guard *g, int port);

/* A connection, idle at first. */
struct guarded *guard_open(struct guard *g);

/* Before the socket is closed. */
void guard_close(struct guarded *c);

/* A request of this peer (numeric IPv4 address) is being read, served or answered. */
void guard_busy(struct guarded *c, const char *address, int port);

/* While it is busy: shut it down after this (CLOCK_NEVER at first). */
void guard_limit(struct guarded *c, int64_t deadline);

/* While it is busy: whether the peer has closed its side. Some system calls; the first time for a connection, some for
 * every descriptor of the process. */
bool guard_gone(struct guarded *c);

/* While it is busy with an answer that goes on: the kernel gives the connection up when what was sent is not taken within
 * this time, and keeps little of it in its buffer. */
void guard_patience(struct guarded *c, int64_t timeout_ms);

/* Between requests: shut down when nothing has come for a second and a connection waits because every place is taken. */
void guard_idle(struct guarded *c);

/* Whether the connection may go on after the answer that is about to be given. False, once for each connection that waits
 * for a place: this one has to make room. */
bool guard_keeps(struct guard *g);

/* Shuts every idle connection down, now and from now on. */
void guard_close_idle(struct guard *g);

#endif
