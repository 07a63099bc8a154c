/* render_test.c - what an author may write, and what he may not: nothing of his is ever HTML. */
#include "render.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *html_of(const char *markdown, enum render_kind kind)
{
    struct buf out = BUF_INIT(1 << 20);

    assert_int_equal(render_html(&out, markdown, strlen(markdown), kind).code, ST_OK);
    return buf_take(&out);
}

static void expect(const char *markdown, const char *html)
{
    char *is = html_of(markdown, RENDER_POST);

    assert_string_equal(is, html);
    free(is);
}

static void test_the_dialect(void **state)
{
    (void)state;
    expect("# 标题\n\n一 *二* **三** ~~四~~ `<五>`",
           "<h2>标题</h2>\n<p>一 <em>二</em> <strong>三</strong> <del>四</del> "
           "<code>&lt;五&gt;</code></p>\n");
    expect("- a\n- [x] b\n- [ ] c", "<ul>\n<li>a</li>\n<li class=\"task\"><input type=\"checkbox\" disabled checked> "
                                    "b</li>\n<li class=\"task\"><input type=\"checkbox\" disabled> c</li>\n</ul>\n");
    expect("3. a\n4. b", "<ol start=\"3\">\n<li>a</li>\n<li>b</li>\n</ol>\n");
    expect("> a\n\n---", "<blockquote>\n<p>a</p>\n</blockquote>\n<hr>\n");
    expect("```c++\nif (a < b)\n```", "<pre><code class=\"language-c++\">if (a &lt; b)\n</code></pre>\n");
    expect("| a | b |\n| :-- | --: |\n| 1 | 2 |",
           "<div class=\"table\"><table>\n<thead>\n<tr><th class=\"left\">a</th><th "
           "class=\"right\">b</th></tr>\n</thead>\n<tbody>\n"
           "<tr><td class=\"left\">1</td><td class=\"right\">2</td></tr>\n</tbody>\n</table></div>\n");
}

static void test_headings_stay_below_those_of_the_page(void **state)
{
    (void)state;
    expect("# a", "<h2>a</h2>\n");
    expect("###### a", "<h6>a</h6>\n");
    char *comment = html_of("# a", RENDER_COMMENT);
    assert_string_equal(comment, "<h4>a</h4>\n");
    free(comment);
}

static void test_html_is_shown_as_text(void **state)
{
    (void)state;
    expect("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n");
    expect("a <img src=x onerror=alert(1)> b", "<p>a &lt;img src=x onerror=alert(1)&gt; b</p>\n");
    expect("&lt;b&gt; &#60;b&#62; &copy;", "<p>&lt;b&gt; &#60;b&#62; &copy;</p>\n");
    expect("&#0; &#xD800; &#x110000;", "<p>&amp;#0; &amp;#xD800; &amp;#x110000;</p>\n");
    expect("```\"><script>\nx\n```", "<pre><code>x\n</code></pre>\n");
}

#define REL "rel=\"nofollow ugc noopener\""

static void test_links_go_where_links_may_go(void **state)
{
    (void)state;
    expect("[a](https://example.org/?q=1&r=\"x\")",
           "<p><a href=\"https://example.org/?q=1&amp;r=%22x%22\" " REL ">a</a></p>\n");
    expect("[a](/post/1#c2)", "<p><a href=\"/post/1#c2\" " REL ">a</a></p>\n");
    expect("<mailto:a@example.org>", "<p><a href=\"mailto:a@example.org\" " REL ">mailto:a@example.org</a></p>\n");
    expect("https://example.org", "<p><a href=\"https://example.org\" " REL ">https://example.org</a></p>\n");
    expect("[中](https://例子.中国/路)",
           "<p><a href=\"https://%E4%BE%8B%E5%AD%90.%E4%B8%AD%E5%9B%BD/%E8%B7%AF\" " REL ">中</a></p>\n");
}

static void test_other_links_become_their_text(void **state)
{
    static const char *const urls[] = {"javascript:alert(1)",
                                       "JaVaScRiPt:alert(1)",
                                       "javascript&colon;alert(1)",
                                       "&#106;avascript:alert(1)",
                                       "&#x6A;avascript:alert(1)",
                                       "<java\tscript:alert(1)>",
                                       "&#1;javascript:alert(1)",
                                       "&#32;javascript:alert(1)",
                                       "data:text/html;base64,PHN2Zz4=",
                                       "vbscript:x",
                                       "file:///etc/passwd",
                                       "\\\\example.org\\a",
                                       "x-new:a"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        char *markdown = xasprintf("[a](%s)", urls[i]), *html = html_of(markdown, RENDER_POST);
        assert_null(strstr(html, "<a"));
        assert_null(strstr(html, "href"));
        free(html);
        free(markdown);
    }
}

static void test_pictures_are_those_of_this_site(void **state)
{
    (void)state;
    expect("![a *b* \"c\"](/api/media/7)",
           "<p><img src=\"/api/media/7\" loading=\"lazy\" alt=\"a b &quot;c&quot;\"></p>\n");
    expect("![a](https://example.org/b.png)", "<p><a href=\"https://example.org/b.png\" " REL ">a</a></p>\n");
    expect("![a](/api/media/../me)", "<p><a href=\"/api/media/../me\" " REL ">a</a></p>\n");
    expect("[![a](/api/media/7)](/b)",
           "<p><a href=\"/b\" " REL "><img src=\"/api/media/7\" loading=\"lazy\" alt=\"a\"></a></p>\n");
    expect("[![a](https://example.org/b.png)](/b)", "<p><a href=\"/b\" " REL ">a</a></p>\n");
    expect("![a [b](/c) ![d](/api/media/8)](/api/media/7)",
           "<p><img src=\"/api/media/7\" loading=\"lazy\" alt=\"a b d\"></p>\n");
}

static void expect_refusal(const char *part, size_t times, const char *words)
{
    struct buf markdown = BUF_INIT(1 << 20), html = BUF_INIT(1 << 20);

    for (size_t i = 0; i < times; i++)
        buf_puts(&markdown, part);
    struct status st = render_html(&html, markdown.data, markdown.size, RENDER_COMMENT);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, words));
    buf_clear(&html);
    assert_int_equal(render_words(&html, markdown.data, markdown.size).code,
                     strstr(words, "grows") ? ST_OK : ST_INVALID);
    buf_fini(&markdown);
    buf_fini(&html);
}

static void test_what_is_too_large_is_refused(void **state)
{
    (void)state;
    expect_refusal("> ", RENDER_DEPTH + 1, "nested");
    expect_refusal("a", RENDER_MAX + 1, "bytes");
    expect_refusal("\"", RENDER_MAX, "grows");
}

/* A row of a table is as wide as its head, however little stands in it. */
static void test_a_table_does_not_multiply(void **state)
{
    struct buf markdown = BUF_INIT(RENDER_MAX), html = BUF_INIT(1 << 20);

    (void)state;
    for (int i = 0; i < 20000; i++)
        buf_puts(&markdown, "|a");
    buf_puts(&markdown, "|\n");
    for (int i = 0; i < 20000; i++)
        buf_puts(&markdown, "|---");
    buf_puts(&markdown, "|\n");
    for (int i = 0; i < 20000; i++)
        buf_puts(&markdown, "|\n");
    struct status st = render_html(&html, markdown.data, markdown.size, RENDER_POST);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "grows"));
    buf_fini(&markdown);
    buf_fini(&html);
}

static void expect_words(const char *markdown, const char *words)
{
    struct buf out = BUF_INIT(1 << 20);

    assert_int_equal(render_words(&out, markdown, strlen(markdown)).code, ST_OK);
    char *is = buf_take(&out);
    assert_string_equal(is, words);
    free(is);
}

static void test_words_alone(void **state)
{
    (void)state;
    expect_words("# 标题\n\n一 *二*\n三 [四](http://a.b) ![五](x)", "标题\n一 二 三 四 五\n");
    expect_words("- a\n- b &amp; c &#8364; &#x4E2D; &#0; &zzz;", "a\nb & c € 中 &#0; &zzz;\n");
    expect_words("| a | b |\n| --- | --- |\n| 1 | 2 |", "a b \n1 2 \n");
    expect_words("<b>x</b>", "<b>x</b>\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_dialect),
        cmocka_unit_test(test_headings_stay_below_those_of_the_page),
        cmocka_unit_test(test_html_is_shown_as_text),
        cmocka_unit_test(test_links_go_where_links_may_go),
        cmocka_unit_test(test_other_links_become_their_text),
        cmocka_unit_test(test_pictures_are_those_of_this_site),
        cmocka_unit_test(test_what_is_too_large_is_refused),
        cmocka_unit_test(test_a_table_does_not_multiply),
        cmocka_unit_test(test_words_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
