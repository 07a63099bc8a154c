/* pages.c - the files of web/ as they were at build time. They change only with the program, so that a browser keeps
 * them and asks by their ETag. The policy lets a page run and load nothing but what comes from here. */
#include "gateway.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define PAGES(X)                                                                                                       \
    X("/", "text/html; charset=utf-8", web_index_html)                                                                 \
    X("/docs", "text/html; charset=utf-8", web_docs_html)                                                              \
    X("/openapi.json", "application/json", web_openapi_json)                                                           \
    X("/static/style.css", "text/css; charset=utf-8", web_style_css)                                                   \
    X("/static/app.js", "text/javascript; charset=utf-8", web_app_js)                                                  \
    X("/static/docs.js", "text/javascript; charset=utf-8", web_docs_js)                                                \
    X("/static/lang.js", "text/javascript; charset=utf-8", web_lang_js)                                                \
    X("/static/icon.svg", "image/svg+xml", web_icon_svg)

#define DECLARE(path, type, symbol) extern const char symbol[], symbol##_end[];
PAGES(DECLARE)

static struct page {
    const char *path, *type, *data, *end;
    char etag[2 * SHA256_SIZE + 3];
} pages[] = {
#define ENTRY(path, type, symbol) {path, type, symbol, symbol##_end, ""},
    PAGES(ENTRY)};

static void make_etags(void)
{
    for (size_t i = 0; i < COUNT_OF(pages); i++) {
        uint8_t digest[SHA256_SIZE];
        char hex[2 * SHA256_SIZE + 1];

        sha256(pages[i].data, (size_t)(pages[i].end - pages[i].data), digest);
        snprintf(pages[i].etag, sizeof pages[i].etag, "\"%.32s\"", hex_encode(digest, sizeof digest, hex));
    }
}

static void reply(struct http_call *call, const struct page *p)
{
    const char *known = http_header(call, "If-None-Match");

    http_set_header(call, "ETag", p->etag);
    http_set_header(call, "Cache-Control", "no-cache");
    http_set_header(call, "Content-Security-Policy",
                    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
                    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    http_set_header(call, "Referrer-Policy", "no-referrer");
    if (known && strstr(known, p->etag))
        http_reply(call, 304, NULL, NULL, 0);
    else
        http_reply(call, 200, p->type, p->data, (size_t)(p->end - p->data));
}

struct status pages_get(struct http_call *call)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_etags);
    for (size_t i = 0; i < COUNT_OF(pages); i++)
        if (!strcmp(pages[i].path, http_path(call))) {
            reply(call, &pages[i]);
            return status_ok();
        }
    return status_errorf(ST_NOT_FOUND, "there is nothing at this path");
}
