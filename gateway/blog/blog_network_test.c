/* blog_network_test.c - whom limits count: proxies, forged headers, prefixes. */
#include "network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_prefix(const char *address, const char *prefix)
{
    char out[NETWORK_SIZE];

    network_prefix(address, out);
    assert_string_equal(out, prefix);
}

static void test_prefixes(void **state)
{
    (void)state;
    expect_prefix("192.0.2.77", "192.0.2.0/24");
    expect_prefix("::ffff:192.0.2.77", "192.0.2.0/24");
    expect_prefix("2001:db8:1:2:3::4", "2001:db8:1::/48");
    expect_prefix("127.0.0.1\n", "unknown");
    expect_prefix("", "unknown");
}

static void expect_client(const char *proxies, const char *peer, const char *forwarded, const char *client)
{
    struct network_proxies p;
    char out[NETWORK_SIZE];

    assert_int_equal(network_proxies_read(&p, proxies).code, ST_OK);
    network_client(&p, peer, forwarded, out);
    assert_string_equal(out, client);
}

static void test_headers_of_strangers_do_not_count(void **state)
{
    (void)state;
    expect_client("", "192.0.2.1", "198.51.100.7", "192.0.2.1");
    expect_client("10.0.0.0/8", "192.0.2.1", "198.51.100.7", "192.0.2.1");
    expect_client("10.0.0.0/8", "10.1.2.3", "198.51.100.7", "198.51.100.7");
    expect_client("10.0.0.0/8", "10.1.2.3", "1.1.1.1, 198.51.100.7", "198.51.100.7");
    expect_client("10.0.0.0/8 2001:db8::/32", "10.1.2.3", "1.1.1.1, 198.51.100.7,2001:db8::5 , 10.9.9.9",
                  "198.51.100.7");
}

static void test_what_is_no_address_ends_the_search(void **state)
{
    (void)state;
    expect_client("10.0.0.0/8", "10.1.2.3", NULL, "10.1.2.3");
    expect_client("10.0.0.0/8", "10.1.2.3", "", "10.1.2.3");
    expect_client("10.0.0.0/8", "10.1.2.3", "1.1.1.1, nonsense", "10.1.2.3");
    expect_client("10.0.0.0/8", "10.1.2.3", " ,, ", "10.1.2.3");
    expect_client("10.0.0.0/8", "10.1.2.3",
                  "1.1.1.1, 0000000000000000000000000000000000000000000000000000000000000000000000000000000000001",
                  "10.1.2.3");
}

static void test_lists_of_proxies(void **state)
{
    static const char *const bad[] = {"x", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "2001:db8::/129", "10.0.0.0/8x"};
    struct network_proxies p;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(network_proxies_read(&p, bad[i]).code, ST_INVALID);
    assert_int_equal(network_proxies_read(&p, "10.0.0.1,  10.0.0.0/0").code, ST_OK);
    assert_int_equal(p.n, 2);
    expect_client("0.0.0.0/0", "2001:db8::1", "1.1.1.1", "2001:db8::1"); /* all of IPv4 is not all */
    expect_client("10.0.0.1", "10.0.0.2", "1.1.1.1", "10.0.0.2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_headers_of_strangers_do_not_count),
        cmocka_unit_test(test_what_is_no_address_ends_the_search),
        cmocka_unit_test(test_lists_of_proxies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
