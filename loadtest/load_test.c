/* load_test.c - a real run against a real HTTP server, which counts what it gets, and answers wrongly when told to. */
#include "load.h"

#include "http/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    struct http_server *server;
    struct pictures pictures;
    struct load_config config;
    struct load_result *result;
    atomic_int n, mode, at_once, most_at_once;
};

enum { RIGHT, REFUSE_SECOND, WRONG_ID, NO_JSON, STALL };

static void answer_right(struct http_call *call, const char *id)
{
    char *text =
        xasprintf("{\"id\": \"%s\", \"objects\": [{\"label\": \"dog\", \"accuracy\": 0.5, \"rectangle\": {}}]}", id);

    http_reply(call, 200, "application/json", text, strlen(text));
    free(text);
}

static struct status answer_in_mode(struct http_call *call, struct fixture *f, const char *id)
{
    int n = atomic_fetch_add(&f->n, 1);

    switch (atomic_load(&f->mode)) {
    case REFUSE_SECOND:
        if (n == 1)
            return status_errorf(ST_UNAVAILABLE, "too much to do");
        break;
    case WRONG_ID:
        id = "another";
        break;
    case NO_JSON:
        http_reply(call, 200, "text/plain", "hello", 5);
        break;
    case STALL:
        clock_sleep_ms(300);
        break;
    default:
        break;
    }
    answer_right(call, id);
    return status_ok();
}

/* The body holds a picture of the expected kind, or the answer is 400. */
static struct status detect(struct http_call *call)
{
    struct fixture *f = http_service(call);
    const char *body = http_body(call, NULL), *id = http_query(call, "id");
    int now = atomic_fetch_add(&f->at_once, 1) + 1, most = atomic_load(&f->most_at_once);
    json_t *in = id ? NULL : json_loads(body, 0, NULL);
    struct status st = status_errorf(ST_INVALID, "not a request");

    while (now > most && !atomic_compare_exchange_weak(&f->most_at_once, &most, now))
        ;
    if (id && !memcmp(body, "\x89PNG", 4))
        st = answer_in_mode(call, f, id);
    else if (in && !strncmp(json_string_value(json_object_get(in, "image")), "iVBORw0KGgo", 11))
        st = answer_in_mode(call, f, json_string_value(json_object_get(in, "id")));
    json_decref(in);
    atomic_fetch_sub(&f->at_once, 1);
    return st;
}

static const struct http_route routes[] = {{"POST", "/detect", detect, 1 << 20}};

static int setup_with(void **state, int64_t connections)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct http_config config = {"127.0.0.1",      .threads = 16, .connections = connections,
                                 .routes = routes, .n_routes = 1, .service = f,
                                 .quiet = true};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    or_die(http_start(&f->server, &config));
    or_die(pictures_make(&f->pictures, 3, false));
    f->result = xcalloc(1, sizeof *f->result);
    address.sin_port = htons((uint16_t)http_port(f->server));
    f->config = (struct load_config){.address_size = sizeof address, .host = "127.0.0.1", .path = "/detect"};
    memcpy(&f->config.address, &address, sizeof address);
    f->config.pictures = &f->pictures;
    f->config.users = 8;
    f->config.window_ms = 200;
    f->config.timeout_ms = 20000;
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, 64);
}

/* Eight users are more than it has places, so connections end while somebody waits for one. */
static int setup_crowded(void **state)
{
    return setup_with(state, 4);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    http_stop(f->server);
    pictures_free(&f->pictures);
    free(f->result);
    free(f);
    return 0;
}

static void check_counts(const struct fixture *f)
{
    const struct load_result *r = f->result;

    assert_int_equal(r->n_sent, r->n_ok + r->n_failed);
    assert_int_equal(r->all.n, r->n_ok);
    assert_int_equal(r->window.n, r->n_window);
    assert_true(r->n_window <= r->n_ok);
}

static void test_every_answer_is_counted_once(void **state)
{
    struct fixture *f = *state;

    or_die(load_run(f->result, &f->config));
    check_counts(f);
    assert_int_equal(f->result->n_failed, 0);
    assert_int_equal(f->result->n_ok, atomic_load(&f->n));
    assert_int_equal(f->result->n_objects, f->result->n_ok);
    assert_int_equal(f->result->n_connects, 8); /* kept alive */
    assert_int_equal(f->result->users, 8);
    assert_true(atomic_load(&f->most_at_once) <= 8 && f->result->n_ok > 8);
    assert_true(f->result->window_seconds >= 0.2 && f->result->bytes_out > f->pictures.all[0].size);
    assert_int_equal(f->result->n_servers, 1);
    assert_int_equal(f->result->servers[0].n, f->result->n_ok);
}

static void test_raw_pictures_carry_their_id_in_the_query(void **state)
{
    struct fixture *f = *state;

    pictures_free(&f->pictures);
    or_die(pictures_make(&f->pictures, 2, true));
    f->config.raw = true;
    or_die(load_run(f->result, &f->config));
    check_counts(f);
    assert_true(f->result->n_ok > 8 && !f->result->n_failed);
}

static void test_users_come_in_at_their_rate(void **state)
{
    struct fixture *f = *state;

    f->config.first_users = 2;
    f->config.spawn_rate = 20;
    or_die(load_run(f->result, &f->config));
    check_counts(f);
    assert_int_equal(f->result->users, 8);
    assert_true(f->result->seconds >= 6 / 20.0 + 0.2);
    assert_int_equal(f->result->n_failed, 0);
}

static void test_thinking_users_are_slower(void **state)
{
    struct fixture *f = *state;

    f->config.think_ms = 100; /* so at most 3 requests each in 200 ms */
    or_die(load_run(f->result, &f->config));
    check_counts(f);
    assert_true(f->result->n_ok <= 8 * 3 && f->result->n_ok >= 8);
}

static void check_failure(struct fixture *f, int mode, enum verdict v, const char *detail)
{
    atomic_store(&f->mode, mode);
    or_die(load_run(f->result, &f->config));
    check_counts(f);
    assert_true(f->result->failures[v] > 0);
    assert_int_equal(f->result->failures[v], f->result->n_failed);
    assert_int_equal(f->result->first_kind, v);
    assert_non_null(strstr(f->result->first_detail, detail));
}

static void test_failures_are_told_apart(void **state)
{
    struct fixture *f = *state;

    check_failure(f, WRONG_ID, VERDICT_ID, "another");
    check_failure(f, NO_JSON, VERDICT_BODY, "hello");
    f->config.timeout_ms = 50;
    check_failure(f, STALL, VERDICT_TIMEOUT, "in time");
}

static void test_a_refusal_ends_the_run_when_asked_to(void **state)
{
    struct fixture *f = *state;

    f->config.stop_on_failure = true;
    f->config.window_ms = 600000;
    check_failure(f, REFUSE_SECOND, VERDICT_HTTP, "503 ");
    assert_int_equal(f->result->statuses[503], 1);
    assert_int_equal(f->result->first_users, f->result->users);
}

static void test_a_closed_connection_is_opened_again(void **state)
{
    struct fixture *f = *state;

    or_die(load_run(f->result, &f->config));
    check_counts(f);
    assert_int_equal(f->result->n_failed, 0);
    assert_true(f->result->n_ok > 8 && f->result->n_connects > 8);
}

static void test_nobody_there_is_a_failure_to_connect(void **state)
{
    struct fixture *f = *state;

    ((struct sockaddr_in *)&f->config.address)->sin_port = htons(1);
    f->config.window_ms = 50;
    or_die(load_run(f->result, &f->config));
    assert_true(f->result->n_failed >= 8 && !f->result->n_ok);
    assert_int_equal(f->result->failures[VERDICT_CONNECT], f->result->n_failed);
}

static void test_pictures_of_a_folder(void **state)
{
    struct fixture *f = *state;
    char folder[] = "/tmp/bloginfer-load-XXXXXX", *path;
    struct pictures p;

    assert_non_null(mkdtemp(folder));
    assert_int_equal(pictures_load(&p, folder, false).code, ST_NOT_FOUND);
    path = xasprintf("%s/b.JPG", folder);
    or_die(fs_write_atomic(path, "abcd", 4));
    free(path);
    path = xasprintf("%s/notes.txt", folder);
    or_die(fs_write_atomic(path, "x", 1));
    free(path);
    or_die(pictures_load(&p, folder, false));
    assert_int_equal(p.n, 1);
    assert_string_equal(p.all[0].type, "image/jpeg");
    assert_int_equal(p.all[0].size, 10);
    assert_memory_equal(p.all[0].data, "YWJjZA==\"}", 10);
    pictures_free(&p);
    assert_int_equal(pictures_load(&p, "/nowhere", false).code, ST_NOT_FOUND);
    fs_remove_tree(folder);
    assert_memory_not_equal(f->pictures.all[0].data + 100, f->pictures.all[1].data + 100, 1000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_every_answer_is_counted_once),
        T(test_raw_pictures_carry_their_id_in_the_query),
        T(test_users_come_in_at_their_rate),
        T(test_thinking_users_are_slower),
        T(test_failures_are_told_apart),
        T(test_a_refusal_ends_the_run_when_asked_to),
        cmocka_unit_test_setup_teardown(test_a_closed_connection_is_opened_again, setup_crowded, teardown),
        T(test_nobody_there_is_a_failure_to_connect),
        T(test_pictures_of_a_folder),
    };

    lifecycle_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
