/* text_test.c - the golden vectors come from another reader: python3 with its own gb2312 codec and the reference
 * implementation of the rules (norm, ngrams and clip_text of the measurements that text.h's rules were taken from). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/text.h"

#include <stdlib.h>
#include <string.h>

static void assert_normal(const char *text, const char *expected)
{
    char out[256];
    size_t n = 0;
    struct status st = text_normalise(text, strlen(text), out, &n);

    assert_string_equal(st.msg, "");
    assert_string_equal(out, expected);
    assert_int_equal(n, strlen(expected));
}

static void assert_refused(const char *text, size_t size)
{
    char *out = malloc(size + 1);
    size_t n;

    assert_int_equal(text_normalise(text, size, out, &n).code, ST_INVALID);
    free(out);
}

static void test_normalise_folds_width_case_and_blanks(void **state)
{
    (void)state;
    assert_normal("Ｈｅｌｌｏ，　世界！", "hello, 世界!");
    assert_normal("\xef\xbb\xbf  A\tB\r\n\xe2\x80\x8b\xc2\xa0Ｚ～ ", "a b z~");
    assert_normal("ＡＺａｚ０９", "azaz09");
    assert_normal("￥·—…", "￥·—…");
    assert_normal("\xe3\x80\x80\xe2\x80\x8b\n", "");
    assert_normal("", "");
    assert_normal("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80");
}

static void test_normalise_refuses_what_is_not_utf8(void **state)
{
    (void)state;
    assert_refused("a\0b", 3);
    assert_refused("\x80", 1);             /* a continuation alone */
    assert_refused("\xe5\xa5", 2);         /* cut */
    assert_refused("\xe5\x41\x41", 3);     /* no continuation */
    assert_refused("\xc0\x80", 2);         /* overlong NUL */
    assert_refused("\xe0\x80\xaf", 3);     /* overlong slash */
    assert_refused("\xf0\x8f\xbf\xbf", 4); /* overlong U+FFFF */
    assert_refused("\xed\xa0\x80", 3);     /* surrogate */
    assert_refused("\xf4\x90\x80\x80", 4); /* U+110000 */
    assert_refused("\xff", 1);
}

static void test_normalise_bounds_the_text(void **state)
{
    char *text = malloc(TEXT_MAX_BYTES + 1), *out = malloc(TEXT_MAX_BYTES + 2);
    size_t n = 0;

    (void)state;
    memset(text, 'a', TEXT_MAX_BYTES + 1);
    assert_int_equal(text_normalise(text, TEXT_MAX_BYTES, out, &n).code, ST_OK);
    assert_int_equal(n, TEXT_MAX_BYTES);
    assert_refused(text, TEXT_MAX_BYTES + 1);
    free(text);
    free(out);
}

static void test_ids_follow_gb2312(void **state)
{
    static const struct {
        uint32_t point;
        uint16_t id;
    } golden[] = {
        {' ', 33},      {'a', 98},
        {'~', 127},     {0x7f, 128},
        {0x3000, 129},  {0x3001, 130},
        {0xffe5, 298},  {0x391, 558},
        {0xe9, 677},    {0x554a, 811} /* 啊, first ideograph */,
        {0x9152, 2164}, {0x8fd9, 4354},
        {0x5ea7, 4565}, {0x9f44, 7573} /* 齄, the last */,
        {0xb7, 7599},   {0x2014, 7649},
        {0x9019, 7741}, {0x1f600, 7774},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(golden); i++)
        assert_int_equal(text_id(golden[i].point), golden[i].id);
}

/* h = 31 h + id over every code point but the surrogates. */
static void test_every_id_is_the_reference_one(void **state)
{
    uint32_t h = 0;
    char *seen = calloc(TEXT_N_IDS, 1);

    (void)state;
    for (uint32_t p = 0; p <= 0x10ffff; p++) {
        if (p >= 0xd800 && p <= 0xdfff)
            continue;
        uint16_t id = text_id(p);
        assert_in_range(id, 1, TEXT_N_IDS - 1);
        seen[id] = 1;
        h = h * 31 + id;
    }
    assert_int_equal(h, 4029393301u);
    for (size_t id = 1; id < TEXT_N_IDS; id++)
        assert_true(seen[id]);
    free(seen);
}

static void assert_ngrams(const char *text, uint32_t n_buckets, const uint32_t *expected, size_t n_expected)
{
    uint32_t points[64], ids[3 * 64];
    size_t n = text_ngrams(points, text_decode(text, strlen(text), points), n_buckets, ids);

    assert_int_equal(n, n_expected);
    assert_memory_equal(ids, expected, n * sizeof *ids);
}

static void test_ngrams_are_the_reference_ones(void **state)
{
    static const uint32_t in_64k[] = {534,   3715,  10047, 13535, 15379, 16927, 17789, 19562, 24076, 24866, 26827,
                                      26880, 27224, 27449, 27661, 30403, 32188, 32502, 34779, 34834, 35673, 36578,
                                      37269, 45047, 47483, 47665, 50517, 52648, 53335, 53432, 53815, 57472, 58201,
                                      60457, 61828, 62680, 62752, 63463, 64622, 64903, 65418};
    static const uint32_t in_256k[] = {
        5876,   10762,  33055,  36799,  50554,  50626,  61256,  67601,  68255,  96109,  98624,  103337, 110608, 117154,
        119474, 119610, 126690, 129694, 130852, 147334, 178057, 178112, 184107, 185085, 190144, 196195, 203003, 217017,
        218967, 220525, 225016, 227474, 233794, 235087, 236553, 238831, 239410, 239532, 243005, 248292, 248707};
    static const uint32_t in_17[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static const uint32_t in_2[] = {1};
    static const uint32_t repeated[] = {534, 1622, 16929, 25650, 31103, 33303, 37278, 42226, 64198};

    (void)state;
    assert_ngrams("房间很好,very good!", 65536, in_64k, COUNT_OF(in_64k));
    assert_ngrams("房间很好,very good!", 1 << 18, in_256k, COUNT_OF(in_256k));
    assert_ngrams("房间很好,very good!", 17, in_17, COUNT_OF(in_17));
    assert_ngrams("房间很好,very good!", 2, in_2, COUNT_OF(in_2));
    assert_ngrams("好好好😀這", 65536, repeated, COUNT_OF(repeated));
    assert_ngrams("", 65536, NULL, 0);
}

static void assert_clipped(const char *text, size_t limit, const char *expected)
{
    uint32_t points[64], wanted[64];
    size_t n = text_clip(points, text_decode(text, strlen(text), points), limit);

    assert_int_equal(n, text_decode(expected, strlen(expected), wanted));
    assert_memory_equal(points, wanted, n * sizeof *points);
}

static void test_clip_keeps_head_and_tail(void **state)
{
    (void)state;
    assert_clipped("abcdefghij", 7, "abcdeij");
    assert_clipped("abcdefghij", 1, "j");
    assert_clipped("abcdefghij", 10, "abcdefghij");
    assert_clipped("abcdefghij", 200, "abcdefghij");
}

static void test_tokenise_does_it_all(void **state)
{
    static const uint16_t ids[] = {1785, 1785, 1785, 7774, 7741};
    struct arena arena;
    struct text_tokens t;

    (void)state;
    arena_init(&arena, 1 << 16);
    assert_int_equal(text_tokenise(&t, &arena, " 好好好😀這\n", strlen(" 好好好😀這\n"), 200, 65536).code, ST_OK);
    assert_int_equal(t.n_ids, COUNT_OF(ids));
    assert_memory_equal(t.ids, ids, sizeof ids);
    assert_int_equal(t.n_ngrams, 9);
    assert_int_equal(text_tokenise(&t, &arena, " ", 1, 200, 65536).code, ST_OK);
    assert_int_equal(t.n_ids, 1);
    assert_int_equal(t.ids[0], 33);
    assert_int_equal(t.n_ngrams, 1);
    assert_int_equal(t.ngrams[0], 24866);
    assert_int_equal(text_tokenise(&t, &arena, "\xff", 1, 200, 65536).code, ST_INVALID);
    assert_int_equal(text_tokenise(&t, &arena, "好", 3, 200, 0).code, ST_OK);
    assert_int_equal(t.n_ids, 1);
    assert_int_equal(t.n_ngrams, 0);
    arena_fini(&arena);
}

static void test_tokenise_keeps_to_the_limit_and_the_arena(void **state)
{
    struct arena arena;
    struct text_tokens t;
    char text[3000];

    (void)state;
    memset(text, 'x', sizeof text);
    arena_init(&arena, 14 * 200 + 64);
    assert_int_equal(text_tokenise(&t, &arena, text, sizeof text, 200, 65536).code, ST_OK);
    assert_int_equal(t.n_ids, 200);
    assert_int_equal(text_tokenise(&t, &arena, text, sizeof text, 200, 65536).code, ST_EXHAUSTED);
    arena_fini(&arena);
}

static void test_places_lead_back_to_the_text(void **state)
{
    static const char text[] = "　 Ａb \xe2\x80\x8b\n😀\t";
    static const uint32_t expected_points[] = {'a', 'b', ' ', 0x1f600}, expected_places[] = {2, 3, 4, 7};
    uint32_t points[sizeof text], places[sizeof text];
    size_t n = 0;

    (void)state;
    assert_int_equal(text_places(text, sizeof text - 1, points, places, &n).code, ST_OK);
    assert_int_equal(n, COUNT_OF(expected_points));
    assert_memory_equal(points, expected_points, sizeof expected_points);
    assert_memory_equal(places, expected_places, sizeof expected_places);
    assert_int_equal(text_places("\xff", 1, points, places, &n).code, ST_INVALID);
}

static void test_an_ngram_has_the_id_that_it_has_among_all(void **state)
{
    uint32_t points[64], ids[3 * 64];
    const char *text = "房间很好,very good!";
    static const uint32_t buckets[] = {2, 17, 65536, 1 << 18};

    (void)state;
    size_t n = text_decode(text, strlen(text), points);
    for (size_t b = 0; b < COUNT_OF(buckets); b++) {
        size_t n_ids = text_ngrams(points, n, buckets[b], ids), n_found = 0;
        uint8_t *found = xcalloc(buckets[b], 1);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 1; k <= 3 && i + k <= n; k++)
                found[text_ngram(points + i, k, buckets[b])] = 1;
        for (size_t i = 0; i < n_ids; i++)
            assert_true(found[ids[i]]);
        for (size_t i = 0; i < buckets[b]; i++)
            n_found += found[i];
        assert_int_equal(n_found, n_ids);
        free(found);
    }
    assert_int_equal(text_ngrams(points, n, 0, ids), 0);
}

static void test_encode_is_what_decode_reads(void **state)
{
    static const uint32_t points[] = {'a', 0x7f, 0x80, 0x7ff, 0x800, 0x597d, 0xffff, 0x10000, 0x10ffff};
    uint32_t back[4];
    char out[5];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(points); i++) {
        size_t size = text_encode(points[i], out);
        assert_int_equal(strlen(out), size);
        assert_int_equal(text_decode(out, size, back), 1);
        assert_int_equal(back[0], points[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalise_folds_width_case_and_blanks),
        cmocka_unit_test(test_normalise_refuses_what_is_not_utf8),
        cmocka_unit_test(test_normalise_bounds_the_text),
        cmocka_unit_test(test_ids_follow_gb2312),
        cmocka_unit_test(test_every_id_is_the_reference_one),
        cmocka_unit_test(test_ngrams_are_the_reference_ones),
        cmocka_unit_test(test_clip_keeps_head_and_tail),
        cmocka_unit_test(test_tokenise_does_it_all),
        cmocka_unit_test(test_tokenise_keeps_to_the_limit_and_the_arena),
        cmocka_unit_test(test_places_lead_back_to_the_text),
        cmocka_unit_test(test_an_ngram_has_the_id_that_it_has_among_all),
        cmocka_unit_test(test_encode_is_what_decode_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
