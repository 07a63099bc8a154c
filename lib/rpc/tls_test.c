/* tls_test.c - TLS and mTLS, with certificates that openssl(1) makes for each run. */
#include "rpc/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/bloginfer-tls-XXXXXX";

/* The path of a file in the folder; a few of them at a time. */
static char *file(const char *name)
{
    static char paths[8][128];
    static int next;

    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Two authorities; of the first a server and a client, of the second a client ("stranger"). */
static int make_certificates(void **state)
{
    static const char script[] =
        "set -e; cd %s\n"
        "ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=$1"
        " -keyout $1.key -out $1.pem; }\n"
        "leaf() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$1 -keyout $1.key -out "
        "$1.csr;"
        " echo \"subjectAltName=$3\" > $1.ext;"
        " openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days 2 -extfile $1.ext -out $1.pem; "
        "}\n"
        "(ca ca; ca other; leaf server ca IP:127.0.0.1; leaf client ca DNS:worker-1.bloginfer;"
        " leaf stranger other DNS:stranger; echo nonsense > broken.pem) > log 2>&1";
    char *command;

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    command = xasprintf(script, folder);
    int rc = system(command);
    free(command);
    return rc;
}

static int remove_certificates(void **state)
{
    (void)state;
    return (int)fs_remove_tree(folder).code;
}

static struct rpc_client *client_of(const struct testing *t, const char *ca, const char *name)
{
    char cert[64], key[64];
    struct rpc_client *c;

    snprintf(cert, sizeof cert, "%s.pem", name ? name : "");
    snprintf(key, sizeof key, "%s.key", name ? name : "");
    or_die(rpc_client_new(&c, &(struct rpc_client_config){.target = t->target,
                                                          .tls_ca = ca ? file(ca) : NULL,
                                                          .tls_cert = name ? file(cert) : NULL,
                                                          .tls_key = name ? file(key) : NULL}));
    return c;
}

static void start(struct testing *t, const char *ca)
{
    testing_start(t, &(struct rpc_server_config){.workers = 1,
                                                 .queue = 8,
                                                 .tls_cert = file("server.pem"),
                                                 .tls_key = file("server.key"),
                                                 .tls_ca = ca ? file(ca) : NULL});
}

static enum code call(const struct testing *t, const char *ca, const char *name)
{
    struct rpc_client *c = client_of(t, ca, name);
    struct status st;

    testing_classify(c, "echo", "text", (struct rpc_options){.timeout_ms = 10000}, &st);
    rpc_client_free(c);
    return st.code;
}

static void test_tls_needs_the_right_authority(void **state)
{
    struct testing t;

    (void)state;
    start(&t, NULL);
    assert_int_equal(call(&t, "ca.pem", NULL), ST_OK);
    assert_int_equal(call(&t, "other.pem", NULL), ST_UNAVAILABLE);
    assert_int_equal(call(&t, NULL, NULL), ST_UNAVAILABLE);
    testing_stop(&t);
}

static void test_mutual_tls_needs_the_right_client(void **state)
{
    struct testing t;

    (void)state;
    start(&t, "ca.pem");
    assert_int_equal(call(&t, "ca.pem", "client"), ST_OK);
    assert_int_equal(call(&t, "ca.pem", "stranger"), ST_UNAVAILABLE);
    assert_int_equal(call(&t, "ca.pem", NULL), ST_UNAVAILABLE);
    testing_stop(&t);
}

static void test_the_handler_sees_who_calls(void **state)
{
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    struct arena arena;
    struct testing t;
    const void *out;

    (void)state;
    arena_init(&arena, 1 << 20);
    start(&t, "ca.pem");
    struct rpc_client *c = client_of(&t, "ca.pem", "client");
    req.task = "call";
    struct status st = rpc_unary(c, CLASSIFY, "Classify", &req, &out, &(struct rpc_options){.arena = &arena});
    assert_int_equal(st.code, ST_OK);
    assert_string_equal(((const Bloginfer__V1__ClassifyResponse *)out)->results[1]->label, "worker-1.bloginfer");
    rpc_client_free(c);
    testing_stop(&t);
    arena_fini(&arena);
}

static struct status try_server(const char *cert, const char *key, const char *ca)
{
    struct rpc_server *s = NULL;
    struct status st = rpc_server_new(&s, &(struct rpc_server_config){.tls_cert = cert ? file(cert) : NULL,
                                                                      .tls_key = key ? file(key) : NULL,
                                                                      .tls_ca = ca ? file(ca) : NULL});
    rpc_server_stop(s);
    return st;
}

static void test_bad_files_are_named_at_the_start(void **state)
{
    (void)state;
    struct status st = try_server("server.pem", "client.key", NULL);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "client.key does not belong to the certificate"));
    st = try_server("broken.pem", "server.key", NULL);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "tls-cert"));
    st = try_server("server.pem", "broken.pem", NULL);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "tls-key"));
    st = try_server("server.pem", "server.key", "missing.pem");
    assert_int_equal(st.code, ST_NOT_FOUND);
    assert_non_null(strstr(st.msg, "tls-ca"));
    assert_int_equal(try_server("server.pem", NULL, NULL).code, ST_INVALID);
    assert_int_equal(try_server(NULL, NULL, "ca.pem").code, ST_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_needs_the_right_authority),
        cmocka_unit_test(test_mutual_tls_needs_the_right_client),
        cmocka_unit_test(test_the_handler_sees_who_calls),
        cmocka_unit_test(test_bad_files_are_named_at_the_start),
    };

    rpc_init();
    int failed = cmocka_run_group_tests_name("tls", tests, make_certificates, remove_certificates);
    rpc_fini();
    return failed;
}
