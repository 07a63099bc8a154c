/* network.c - see network.h. */
#include "network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BITS_V4 24
#define BITS_V6 48

static const unsigned char v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

static bool is_v4(const unsigned char address[16])
{
    return !memcmp(address, v4_prefix, sizeof v4_prefix);
}

static bool address_read(unsigned char out[16], const char *text)
{
    if (inet_pton(AF_INET6, text, out) == 1)
        return true;
    memcpy(out, v4_prefix, sizeof v4_prefix);
    return inet_pton(AF_INET, text, out + 12) == 1;
}

/* The first bits stay, the others become 0. */
static void mask(unsigned char address[16], unsigned bits)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned left = bits > 8 * i ? bits - 8 * i : 0;
        address[i] &= left >= 8 ? 0xFF : (unsigned char)(0xFF00 >> left);
    }
}

/* ---- proxies ---- */

static bool range_read(struct network_range *out, char *text)
{
    char *slash = strchr(text, '/'), *end;

    if (slash)
        *slash++ = '\0';
    if (!address_read(out->address, text))
        return false;
    unsigned most = is_v4(out->address) && !strchr(text, ':') ? 32 : 128;
    unsigned long bits = slash ? strtoul(slash, &end, 10) : most;
    if (bits > most || (slash && (!*slash || *end || *slash < '0' || *slash > '9')))
        return false;
    out->bits = (unsigned)bits + (128 - most);
    mask(out->address, out->bits);
    return true;
}

struct status network_proxies_read(struct network_proxies *out, const char *list)
{
    char *copy = xstrdup(list), *rest = copy;
    struct status st = status_ok();

    out->n = 0;
    for (char *word; !st.code && (word = strsep(&rest, ", "));) {
        char shown[NETWORK_SIZE];
        snprintf(shown, sizeof shown, "%s", word);
        if (!*word)
            continue;
        if (out->n == NETWORK_MAX_PROXIES)
            st = status_errorf(ST_INVALID, "at most %d proxies", NETWORK_MAX_PROXIES);
        else if (!range_read(&out->ranges[out->n++], word))
            st = status_errorf(ST_INVALID, "%s: neither an address nor a network such as 10.0.0.0/8", shown);
    }
    free(copy);
    return st;
}

static bool is_proxy(const struct network_proxies *proxies, const unsigned char address[16])
{
    for (size_t i = 0; i < proxies->n; i++) {
        unsigned char network[16];
        memcpy(network, address, sizeof network);
        mask(network, proxies->ranges[i].bits);
        if (!memcmp(network, proxies->ranges[i].address, sizeof network))
            return true;
    }
    return false;
}

/* The last word of a list separated by commas, cut off it; false: it was empty. */
static bool last_word(const char *list, size_t *size, char *out)
{
    while (*size && strchr(" \t,", list[*size - 1]))
        --*size;
    size_t end = *size;
    while (*size && !strchr(" \t,", list[*size - 1]))
        --*size;
    size_t n = end - *size < NETWORK_SIZE ? end - *size : NETWORK_SIZE - 1;
    memcpy(out, list + *size, n);
    out[n] = '\0';
    return n > 0;
}

void network_client(const struct network_proxies *proxies, const char *peer, const char *forwarded, char *out)
{
    const char *list = forwarded ? forwarded : "";
    size_t size = strlen(list);
    unsigned char address[16];
    char word[NETWORK_SIZE];

    snprintf(out, NETWORK_SIZE, "%s", peer);
    while (address_read(address, out) && is_proxy(proxies, address)) {
        if (!last_word(list, &size, word) || !address_read(address, word))
            return;
        memcpy(out, word, sizeof word);
    }
}

/* ---- prefixes ---- */

void network_prefix(const char *address, char *out)
{
    unsigned char a[16];
    char text[INET6_ADDRSTRLEN];

    if (!address_read(a, address)) {
        snprintf(out, NETWORK_SIZE, "unknown");
    } else if (is_v4(a)) {
        snprintf(out, NETWORK_SIZE, "%u.%u.%u.0/%d", a[12], a[13], a[14], BITS_V4);
    } else {
        mask(a, BITS_V6);
        inet_ntop(AF_INET6, a, text, sizeof text);
        snprintf(out, NETWORK_SIZE, "%s/%d", text, BITS_V6);
    }
}
