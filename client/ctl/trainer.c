/* trainer.c - HTTP calls to the trainer, by libcurl. */
#include "ctl.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_LIMIT (16 << 20)

static size_t collect(char *data, size_t size, size_t n, void *ctx)
{
    return buf_add(ctx, data, size * n) ? size * n : 0;
}

/* The part that POST alone needs; text: the body, borrowed by curl until the call is over. */
static struct curl_slist *set_body(CURL *curl, const char *text)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");

    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    return headers;
}

/* Inside one's own network: no proxy, no redirects, nothing but HTTP. */
static void set_up(CURL *curl, const struct ctl_settings *s, const char *url, struct buf *answer)
{
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)s->timeout_s);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (*s->tls_ca)
        curl_easy_setopt(curl, CURLOPT_CAINFO, s->tls_ca);
    if (*s->tls_cert)
        curl_easy_setopt(curl, CURLOPT_SSLCERT, s->tls_cert);
    if (*s->tls_key)
        curl_easy_setopt(curl, CURLOPT_SSLKEY, s->tls_key);
}

/* HTTP codes that a person can act on; the message is the trainer's. */
static struct status http_error(long http_code, const json_t *answer)
{
    const char *message = json_string_value(json_object_get(answer, "message"));
    enum code code = http_code == 400   ? ST_INVALID
                     : http_code == 404 ? ST_NOT_FOUND
                     : http_code == 409 ? ST_EXISTS
                     : http_code == 503 ? ST_UNAVAILABLE
                                        : ST_UNKNOWN;

    return status_errorf(code, "%s", message ? message : "the trainer answers in a way that is not its own");
}

static struct status parse(long http_code, const struct buf *answer, json_t **reply)
{
    json_t *value = answer->size ? json_loadb(answer->data, answer->size, JSON_REJECT_DUPLICATES, NULL) : NULL;

    if (http_code < 300 && json_is_object(value)) {
        *reply = value;
        return status_ok();
    }
    struct status st = http_error(http_code, value);
    json_decref(value);
    return status_prefix(st, "HTTP %ld", http_code);
}

struct status ctl_trainer(struct ctl *ctl, const char *path, const json_t *body, json_t **reply)
{
    const char *address = ctl->settings.trainer;
    char *url = xasprintf("%s%s%s", strstr(address, "://") ? "" : "http://", address, path);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct buf answer = BUF_INIT(REPLY_LIMIT);
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    struct status st;

    *reply = NULL;
    if (!curl) {
        st = status_errorf(ST_INTERNAL, "libcurl cannot be set up");
        goto out;
    }
    set_up(curl, &ctl->settings, url, &answer);
    if (text)
        headers = set_body(curl, text);
    CURLcode e = curl_easy_perform(curl);
    long http_code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_code);
    if (e == CURLE_COULDNT_CONNECT || e == CURLE_COULDNT_RESOLVE_HOST)
        st = status_errorf(ST_UNAVAILABLE, "the trainer at %s does not answer (%s): is it running? ./bloginfer status",
                           address, curl_easy_strerror(e));
    else if (e)
        st = status_errorf(ST_UNAVAILABLE, "the trainer at %s: %s", address, curl_easy_strerror(e));
    else
        st = parse(http_code, &answer, reply);
out:
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    buf_fini(&answer);
    free(text);
    free(url);
    return st;
}
