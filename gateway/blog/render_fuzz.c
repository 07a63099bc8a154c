/* render_fuzz.c - whatever an author writes: the HTML holds no tag and no attribute but those that render.c writes. */
#include "render.h"

#include <stdlib.h>
#include <string.h>

/* Every "<" begins one of our tags, and outside of them no quote is bare. */
static void html_check(const char *html)
{
    static const char *const tags[] = {"<h",    "</h",    "<p>",  "</p>",  "<ul>",  "</ul>",  "<ol",    "</ol>",
                                       "<li",   "</li>",  "<em>", "</em>", "<str",  "</str",  "<code",  "</code>",
                                       "<del>", "</del>", "<a ",  "</a>",  "<img ", "<br>",   "<block", "</block",
                                       "<pre>", "</pre>", "<t",   "</t",   "<div ", "</div>", "<input "};

    for (const char *at = strchr(html, '<'); at; at = strchr(at + 1, '<')) {
        bool known = false;
        for (size_t i = 0; i < COUNT_OF(tags) && !known; i++)
            known = !strncmp(at, tags[i], strlen(tags[i]));
        if (!known || !strchr(at, '>'))
            abort();
    }
    if (strstr(html, "href=\"javascript") || strstr(html, "<script") || strstr(html, "<img src=\"h"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf html = BUF_INIT(4 << 20), words = BUF_INIT(4 << 20);

    if (!render_html(&html, (const char *)data, size, RENDER_COMMENT).code && html.size &&
        !memchr(html.data, 0, html.size))
        html_check(html.data);
    (void)render_words(&words, (const char *)data, size);
    buf_fini(&html);
    buf_fini(&words);
    return 0;
}
