/* base64_test.c - RFC 4648's vectors, libcrypto's own encoder as the peer, and what is refused. */
#include "base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static void test_vectors_of_the_rfc(void **state)
{
    static const char *const vectors[][2] = {{"", ""},
                                             {"Zg==", "f"},
                                             {"Zm8=", "fo"},
                                             {"Zm9v", "foo"},
                                             {"Zm9vYg==", "foob"},
                                             {"Zm9vYmE=", "fooba"},
                                             {"Zm9vYmFy", "foobar"}};
    uint8_t out[16];
    size_t n;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(vectors); i++) {
        assert_int_equal(base64_decode(vectors[i][0], strlen(vectors[i][0]), out, &n).code, ST_OK);
        assert_int_equal(n, strlen(vectors[i][1]));
        assert_memory_equal(out, vectors[i][1], n);
    }
}

static void test_every_length_comes_back(void **state)
{
    uint8_t bytes[300], out[310];
    char text[410];
    struct rng rng;
    size_t n;

    (void)state;
    rng_init(&rng, 1);
    for (size_t size = 0; size < sizeof bytes; size++) {
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)rng_next(&rng);
        int length = EVP_EncodeBlock((unsigned char *)text, bytes, (int)size);
        assert_int_equal(base64_decode(text, (size_t)length, out, &n).code, ST_OK);
        assert_int_equal(n, size);
        assert_memory_equal(out, bytes, size);
        assert_int_equal(base64_decode(text, (size_t)length, (uint8_t *)text, &n).code, ST_OK); /* in place */
        assert_int_equal(n, size);
        assert_memory_equal(text, bytes, size);
    }
}

/* What is wrong is told where it stands, in place too, in a group in the middle as in the last one. */
static void test_the_place_of_an_error_is_told(void **state)
{
    static const size_t places[] = {0, 3, 5, 9, 11};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        char text[] = "Zm9vYmFyZm9v", want[40];
        size_t n;

        text[places[i]] = '%';
        snprintf(want, sizeof want, "not base64: character %zu", places[i] + 1);
        struct status st = base64_decode(text, 12, (uint8_t *)text, &n);
        assert_int_equal(st.code, ST_INVALID);
        assert_string_equal(st.msg, want);
    }
}

static void test_anything_else_is_refused(void **state)
{
    static const char *const bad[] = {
        "Z",     "Zg",     "Zg=",  "Zg===", "====", "Z===", "Zg=a", "=Zg=",    "Zm 9", "Zm9\n",
        " Zm9v", "Zm9v\n", "Zm-_", "Zm9v=", "Zh==", "Zm9=", "Zm%v", "Zm9\x80", "data:"};
    uint8_t out[16];
    size_t n;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (base64_decode(bad[i], strlen(bad[i]), out, &n).code != ST_INVALID)
            fail_msg("%s is taken", bad[i]);
    assert_int_equal(base64_decode("Zm\0v", 4, out, &n).code, ST_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_of_the_rfc),
        cmocka_unit_test(test_every_length_comes_back),
        cmocka_unit_test(test_anything_else_is_refused),
        cmocka_unit_test(test_the_place_of_an_error_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
