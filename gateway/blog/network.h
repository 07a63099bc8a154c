/* network.h - whose request it is as far as addresses tell: behind proxies that one trusts, the address they were asked from;
 * and of it the network that limits count by, since one person has as many IPv6 addresses as he likes. Thread-safe. */
#ifndef BLOG_NETWORK_H
#define BLOG_NETWORK_H

#include "base/base.h"

#include <stdbool.h>

#define NETWORK_SIZE        64 /* of an address or a network as text, with the NUL */
#define NETWORK_MAX_PROXIES 32

/* Proxies whose X-Forwarded-For counts; nobody's does otherwise, for anybody can send one. */
struct network_proxies {
    struct network_range {
        unsigned char address[16]; /* IPv4 as ::ffff:a.b.c.d */
        unsigned bits;
    } ranges[NETWORK_MAX_PROXIES];
    size_t n;
};

/* "10.0.0.0/8, 2001:db8::1": addresses and networks; "": none. ST_INVALID names the one that is neither. */
struct status network_proxies_read(struct network_proxies *out, const char *list);

/* Of a request from `peer` with these X-Forwarded-For (NULL: none): the last address that is no proxy of ours. What is no
 * address in the header ends the search. out: (NETWORK_SIZE,) */
void network_client(const struct network_proxies *proxies, const char *peer, const char *forwarded, char *out);

/* "192.0.2.0/24", "2001:db8:1::/48"; "unknown" of what is no address. out: (NETWORK_SIZE,) */
void network_prefix(const char *address, char *out);

#endif
