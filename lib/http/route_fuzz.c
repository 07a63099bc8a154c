/* route_fuzz.c - whatever a peer writes as path and query: decoded text has to be valid and no longer than it was. */
#include "http/route.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct status nothing(struct http_call *call)
{
    (void)call;
    return status_ok();
}

static const struct http_route routes[] = {
    {"GET", "/a/{b}/c", nothing, 0},
    {"POST", "/a/{b}/{c}", nothing, 0},
    {"GET", "/d/*", nothing, 0},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *raw = xstrndup((const char *)data, size), *path = xmalloc(strlen(raw) + 1);
    struct buf allow = BUF_INIT(256);
    struct route_match m;
    struct arena arena;

    arena_init(&arena, 1 << 16);
    if (!route_path(raw, path).code) {
        assert(strlen(path) <= strlen(raw) && route_text_valid(path, strlen(path)));
        assert(!strstr(path, "/../"));
        if (route_find(&m, routes, COUNT_OF(routes), "GET", path, &arena))
            for (size_t i = 0; m.route && i < m.n_params; i++)
                assert(*m.params[i].value);
        route_allow(&allow, routes, COUNT_OF(routes), path);
    }
    const char *value = route_query(raw, "q", &arena);
    assert(!value || route_text_valid(value, strlen(value)));
    buf_fini(&allow);
    arena_fini(&arena);
    free(path);
    free(raw);
    return 0;
}
