/* multipart_test.c - forms as curl and browsers send them, and damaged ones. */
#include "multipart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE "multipart/form-data; boundary="

/* Every part as name=data;, or the message of what is wrong. The caller's. */
static char *walk(const char *type, const char *body, size_t size)
{
    struct buf out = BUF_INIT(4096);
    char *copy = xmalloc(size + 1);
    struct multipart_part part;
    struct multipart m;
    struct status st;

    memcpy(copy, body, size);
    st = multipart_init(&m, type, copy, size);
    while (!st.code && !(st = multipart_next(&m, &part)).code && part.data) {
        buf_printf(&out, "%s=", part.name);
        buf_add(&out, part.data, part.size);
        buf_putc(&out, ';');
    }
    if (st.code)
        buf_puts(&out, st.msg);
    free(copy);
    return buf_take(&out);
}

static void expect(const char *type, const char *body, const char *want)
{
    char *got = walk(type, body, strlen(body));

    if (!strstr(got, want))
        fail_msg("%s: not \"%s\" but \"%s\"", body, want, got);
    free(got);
}

static void test_parts(void **state)
{
    (void)state;
    expect(TYPE "x",
           "--x\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n7\r\n--x\r\nContent-Type: image/jpeg\r\n"
           "content-disposition: form-data; filename=\"a; name=id.jpg\"; name=image\r\n\r\n-xa\r\n-\r\n--x--\r\n",
           "id=7;image=-xa\r\n-;");
    expect(TYPE "\"a b\"; charset=utf-8", "--a b\r\nContent-Disposition: form-data; name=\"v\"\r\n\r\n\r\n--a b--",
           "v=;");
    expect("multipart/form-data; Boundary=x ", "--x\r\n\r\nno name\r\n--x--", "=no name;");
    expect(TYPE "x", "--x--", "");
}

static void test_data_may_hold_any_byte(void **state)
{
    static const char body[] = "--x\r\nContent-Disposition: form-data; name=\"i\"\r\n\r\n\0\r\n\0--x\r\n--x--";
    char *got = walk(TYPE "x", body, sizeof body - 1);

    (void)state;
    assert_memory_equal(got, "i=\0\r\n\0--x;", 10);
    free(got);
}

static void test_damage_is_told(void **state)
{
    char longer[MULTIPART_MAX_BOUNDARY + 60];

    (void)state;
    expect("multipart/form-data", "--x--", "without a boundary");
    expect(TYPE, "----", "without a boundary");
    expect(TYPE "\"x", "--x--", "without a boundary");
    snprintf(longer, sizeof longer, TYPE "%071d", 0);
    expect(longer, "--x--", "without a boundary");
    expect(TYPE "x", "", "does not begin");
    expect(TYPE "x", "--y\r\n\r\n\r\n--y--", "does not begin");
    expect(TYPE "x", "--x", "without its last boundary");
    expect(TYPE "x", "--x\r\nA: b", "without an empty line");
    expect(TYPE "x", "--x\r\nA: b\r\n\r\nendless", "without its last boundary");
    expect(TYPE "x", "--x\r\n\r\na\r\n--xy", "without its last boundary");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_data_may_hold_any_byte),
        cmocka_unit_test(test_damage_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
