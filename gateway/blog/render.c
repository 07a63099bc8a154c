/* render.c - see render.h. md4c calls back for every block, span and piece of text in order; what is written for each is
 * a row of a table, but for the few that carry something of the author's: links, pictures, code, cells. */
#include "render.h"

#include "text/text.h"

#include <ctype.h>
#include <md4c.h>
#include <stdlib.h>
#include <string.h>

#define MAX_URL 2048

/* What a link or a picture of the source has become. */
enum written { WRITTEN_TEXT, WRITTEN_LINK, WRITTEN_PICTURE };

struct render {
    struct buf *out;
    unsigned heading;                 /* added to a heading's level */
    unsigned depth;                   /* of blocks that are open */
    enum written spans[RENDER_DEPTH]; /* the links and pictures that are open, outermost first */
    unsigned n_spans;
    bool in_link;    /* another may not begin */
    bool in_picture; /* in its description, of which only the words count */
    bool too_deep;
};

/* What a callback returns: md4c goes on while it is 0. */
static int over(const struct render *r)
{
    return r->out->full || r->too_deep;
}

/* ---- text ---- */

void render_escape(struct buf *out, const char *text, size_t size)
{
    size_t from = 0;

    for (size_t i = 0; i < size; i++) {
        const char *as = text[i] == '&'    ? "&amp;"
                         : text[i] == '<'  ? "&lt;"
                         : text[i] == '>'  ? "&gt;"
                         : text[i] == '"'  ? "&quot;"
                         : text[i] == '\'' ? "&#39;"
                                           : NULL;
        if (!as)
            continue;
        buf_add(out, text + from, i - from);
        buf_puts(out, as);
        from = i + 1;
    }
    buf_add(out, text + from, size - from);
}

/* The code point of "&#8364;" or "&#x20AC;"; 0: none that may stand in a text. */
static uint32_t numeric_entity(const char *text, size_t size)
{
    bool hex = size > 3 && (text[2] == 'x' || text[2] == 'X');
    uint32_t point = 0;

    for (size_t i = hex ? 3 : 2; i + 1 < size && point < 0x110000; i++)
        point =
            hex ? point * 16 + (uint32_t)(isdigit((unsigned char)text[i]) ? text[i] - '0' : (text[i] | 32) - 'a' + 10)
                : point * 10 + (uint32_t)(text[i] - '0');
    bool surrogate = point >= 0xD800 && point < 0xE000;
    return point < 0x20 || (point >= 0x7F && point < 0xA0) || surrogate || point >= 0x110000 ? 0 : point;
}

/* Adds what an entity stands for, of the named ones those that matter to a reader of plain text. False: not known. */
static bool entity_decode(struct buf *out, const char *text, size_t size)
{
    static const struct {
        const char *name, *value;
    } named[] = {{"&amp;", "&"},   {"&lt;", "<"},        {"&gt;", ">"},         {"&quot;", "\""},
                 {"&apos;", "'"},  {"&nbsp;", " "},      {"&hellip;", "…"},     {"&mdash;", "—"},
                 {"&ndash;", "–"}, {"&copy;", "\u00a9"}, {"&times;", "\u00d7"}, {"&middot;", "\u00b7"}};
    uint32_t point = size > 3 && text[1] == '#' ? numeric_entity(text, size) : 0;
    char utf8[5];

    if (point)
        return buf_add(out, utf8, text_encode(point, utf8)), true;
    for (size_t i = 0; i < COUNT_OF(named); i++)
        if (strlen(named[i].name) == size && !memcmp(named[i].name, text, size))
            return buf_puts(out, named[i].value), true;
    return false;
}

static int html_text(MD_TEXTTYPE type, const char *text, MD_SIZE size, void *ctx)
{
    struct render *r = ctx;

    if (type == MD_TEXT_NULLCHAR)
        buf_puts(r->out, "\uFFFD");
    else if (type == MD_TEXT_BR)
        buf_puts(r->out, r->in_picture ? " " : "<br>\n");
    else if (type == MD_TEXT_SOFTBR)
        buf_putc(r->out, r->in_picture ? ' ' : '\n');
    else if (type == MD_TEXT_ENTITY && (text[1] != '#' || numeric_entity(text, size)))
        buf_add(r->out, text, size); /* letters, digits, '#': md4c has looked */
    else
        render_escape(r->out, text, size);
    return over(r);
}

/* ---- addresses ---- */

/* The address as the author means it, entities undone. False: nothing that one would link to. */
static bool url_read(struct buf *url, const MD_ATTRIBUTE *a)
{
    if (!a->size)
        return false;
    for (size_t i = 0; a->substr_offsets[i] < a->size; i++) {
        const char *part = a->text + a->substr_offsets[i];
        size_t size = a->substr_offsets[i + 1] - a->substr_offsets[i];
        if (a->substr_types[i] == MD_TEXT_NORMAL)
            buf_add(url, part, size);
        else if (a->substr_types[i] != MD_TEXT_ENTITY || !entity_decode(url, part, size))
            return false;
    }
    return !url->full;
}

/* Browsers drop some control characters from an address and see a backslash as a slash: there are none in ours. */
static bool url_allowed(const char *url)
{
    static const char *const schemes[] = {"http:", "https:", "mailto:"};
    size_t scheme = strcspn(url, ":/?#");

    for (const unsigned char *c = (const unsigned char *)url; *c; c++)
        if (*c <= ' ' || *c == 0x7F || *c == '\\')
            return false;
    if (url[scheme] != ':')
        return true;
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (strlen(schemes[i]) == scheme + 1 && !strncasecmp(url, schemes[i], scheme + 1))
            return true;
    return false;
}

/* As an attribute's value: what RFC 3986 knows stays, the rest is percent-encoded. */
static void url_write(struct buf *out, const char *url)
{
    for (const unsigned char *c = (const unsigned char *)url; *c; c++) {
        if (*c == '&')
            buf_puts(out, "&amp;");
        else if (isalnum(*c) || strchr("-._~:/?#[]@!$()*+,;=%", *c))
            buf_putc(out, (char)*c);
        else
            buf_printf(out, "%%%02X", *c);
    }
}

/* ---- links and pictures ---- */

static enum written link_open(struct render *r, const char *url)
{
    if (r->in_link || r->in_picture || !url_allowed(url))
        return WRITTEN_TEXT;
    buf_puts(r->out, "<a href=\"");
    url_write(r->out, url);
    buf_puts(r->out, "\" rel=\"nofollow ugc noopener\">");
    r->in_link = true;
    return WRITTEN_LINK;
}

/* Of a picture of ours the description, until it ends, becomes the value of alt; of others it is the text of a link. */
static enum written picture_open(struct render *r, const char *url)
{
    if (r->in_picture || strncmp(url, RENDER_MEDIA, strlen(RENDER_MEDIA)) != 0 || strstr(url, "..") ||
        !url_allowed(url))
        return link_open(r, url);
    buf_puts(r->out, "<img src=\"");
    url_write(r->out, url);
    buf_puts(r->out, "\" loading=\"lazy\" alt=\"");
    r->in_picture = true;
    return WRITTEN_PICTURE;
}

static void address_enter(struct render *r, const MD_ATTRIBUTE *address,
                          enum written (*open)(struct render *r, const char *url))
{
    struct buf url = BUF_INIT(MAX_URL);
    bool read = url_read(&url, address);

    if (r->n_spans == RENDER_DEPTH)
        r->too_deep = true;
    else
        r->spans[r->n_spans++] = read ? open(r, url.data) : WRITTEN_TEXT;
    buf_fini(&url);
}

static void address_leave(struct render *r)
{
    enum written was = r->n_spans ? r->spans[--r->n_spans] : WRITTEN_TEXT;

    if (was == WRITTEN_LINK) {
        buf_puts(r->out, "</a>");
        r->in_link = false;
    } else if (was == WRITTEN_PICTURE) {
        buf_puts(r->out, "\">");
        r->in_picture = false;
    }
}

/* ---- spans ---- */

static const char *const span_tags[] = {
    [MD_SPAN_EM] = "em", [MD_SPAN_STRONG] = "strong", [MD_SPAN_CODE] = "code", [MD_SPAN_DEL] = "del"};

static void span_tag(struct render *r, const char *opening, MD_SPANTYPE type)
{
    if (!r->in_picture && (size_t)type < COUNT_OF(span_tags) && span_tags[type])
        buf_printf(r->out, "%s%s>", opening, span_tags[type]);
}

static int html_enter_span(MD_SPANTYPE type, void *detail, void *ctx)
{
    struct render *r = ctx;

    if (type == MD_SPAN_A)
        address_enter(r, &((MD_SPAN_A_DETAIL *)detail)->href, link_open);
    else if (type == MD_SPAN_IMG)
        address_enter(r, &((MD_SPAN_IMG_DETAIL *)detail)->src, picture_open);
    else
        span_tag(r, "<", type);
    return over(r);
}

static int html_leave_span(MD_SPANTYPE type, void *detail, void *ctx)
{
    struct render *r = ctx;

    (void)detail;
    if (type == MD_SPAN_A || type == MD_SPAN_IMG)
        address_leave(r);
    else
        span_tag(r, "</", type);
    return over(r);
}

/* ---- blocks ---- */

static const struct {
    const char *enter, *leave;
} block_tags[] = {
    [MD_BLOCK_QUOTE] = {"<blockquote>\n", "</blockquote>\n"},
    [MD_BLOCK_UL] = {"<ul>\n", "</ul>\n"},
    [MD_BLOCK_OL] = {NULL, "</ol>\n"},
    [MD_BLOCK_LI] = {NULL, "</li>\n"},
    [MD_BLOCK_HR] = {"<hr>\n", NULL},
    [MD_BLOCK_CODE] = {NULL, "</code></pre>\n"},
    [MD_BLOCK_P] = {"<p>", "</p>\n"},
    [MD_BLOCK_TABLE] = {"<div class=\"table\"><table>\n", "</table></div>\n"},
    [MD_BLOCK_THEAD] = {"<thead>\n", "</thead>\n"},
    [MD_BLOCK_TBODY] = {"<tbody>\n", "</tbody>\n"},
    [MD_BLOCK_TR] = {"<tr>", "</tr>\n"},
    [MD_BLOCK_TH] = {NULL, "</th>"},
    [MD_BLOCK_TD] = {NULL, "</td>"},
};

static unsigned heading_level(const struct render *r, const MD_BLOCK_H_DETAIL *h)
{
    return h->level + r->heading > 6 ? 6 : h->level + r->heading;
}

/* The language is a class for whoever colours code; nothing but a short word. */
static void code_enter(struct render *r, const MD_ATTRIBUTE *language)
{
    size_t n = 0;

    while (n < language->size && (isalnum((unsigned char)language->text[n]) || strchr("+#-_.", language->text[n])))
        n++;
    if (n && n == language->size && n <= 32)
        buf_printf(r->out, "<pre><code class=\"language-%.*s\">", (int)n, language->text);
    else
        buf_puts(r->out, "<pre><code>");
}

static void item_enter(struct render *r, const MD_BLOCK_LI_DETAIL *item)
{
    if (!item->is_task)
        buf_puts(r->out, "<li>");
    else
        buf_printf(r->out, "<li class=\"task\"><input type=\"checkbox\" disabled%s> ",
                   item->task_mark == ' ' ? "" : " checked");
}

static void cell_enter(struct render *r, const char *tag, const MD_BLOCK_TD_DETAIL *cell)
{
    static const char *const classes[] = {[MD_ALIGN_LEFT] = " class=\"left\"",
                                          [MD_ALIGN_CENTER] = " class=\"center\"",
                                          [MD_ALIGN_RIGHT] = " class=\"right\""};
    const char *class = (size_t)cell->align < COUNT_OF(classes) ? classes[cell->align] : NULL;

    buf_printf(r->out, "<%s%s>", tag, class ? class : "");
}

static int html_enter_block(MD_BLOCKTYPE type, void *detail, void *ctx)
{
    struct render *r = ctx;

    if (++r->depth > RENDER_DEPTH)
        r->too_deep = true;
    if (type == MD_BLOCK_H)
        buf_printf(r->out, "<h%u>", heading_level(r, detail));
    else if (type == MD_BLOCK_OL && ((MD_BLOCK_OL_DETAIL *)detail)->start != 1)
        buf_printf(r->out, "<ol start=\"%u\">\n", ((MD_BLOCK_OL_DETAIL *)detail)->start);
    else if (type == MD_BLOCK_OL)
        buf_puts(r->out, "<ol>\n");
    else if (type == MD_BLOCK_LI)
        item_enter(r, detail);
    else if (type == MD_BLOCK_CODE)
        code_enter(r, &((MD_BLOCK_CODE_DETAIL *)detail)->lang);
    else if (type == MD_BLOCK_TH || type == MD_BLOCK_TD)
        cell_enter(r, type == MD_BLOCK_TH ? "th" : "td", detail);
    else if ((size_t)type < COUNT_OF(block_tags) && block_tags[type].enter)
        buf_puts(r->out, block_tags[type].enter);
    return over(r);
}

static int html_leave_block(MD_BLOCKTYPE type, void *detail, void *ctx)
{
    struct render *r = ctx;

    r->depth--;
    if (type == MD_BLOCK_H)
        buf_printf(r->out, "</h%u>\n", heading_level(r, detail));
    else if ((size_t)type < COUNT_OF(block_tags) && block_tags[type].leave)
        buf_puts(r->out, block_tags[type].leave);
    return over(r);
}

/* ---- the words alone ---- */

static int words_text(MD_TEXTTYPE type, const char *text, MD_SIZE size, void *ctx)
{
    struct render *r = ctx;

    if (type == MD_TEXT_BR || type == MD_TEXT_SOFTBR)
        buf_putc(r->out, ' ');
    else if (type != MD_TEXT_NULLCHAR && (type != MD_TEXT_ENTITY || !entity_decode(r->out, text, size)))
        buf_add(r->out, text, size);
    return over(r);
}

static int words_enter_block(MD_BLOCKTYPE type, void *detail, void *ctx)
{
    struct render *r = ctx;

    (void)type;
    (void)detail;
    if (++r->depth > RENDER_DEPTH)
        r->too_deep = true;
    return over(r);
}

static int words_leave_block(MD_BLOCKTYPE type, void *detail, void *ctx)
{
    struct render *r = ctx;
    bool text = type == MD_BLOCK_P || type == MD_BLOCK_H || type == MD_BLOCK_LI || type == MD_BLOCK_TR;

    (void)detail;
    r->depth--;
    if (type == MD_BLOCK_TH || type == MD_BLOCK_TD)
        buf_putc(r->out, ' ');
    else if (text && r->out->size && r->out->data[r->out->size - 1] != '\n')
        buf_putc(r->out, '\n');
    return over(r);
}

static int words_span(MD_SPANTYPE type, void *detail, void *ctx)
{
    (void)type;
    (void)detail;
    (void)ctx;
    return 0;
}

/* ---- both ---- */

static struct status parse(struct render *r, const MD_PARSER *parser, const char *markdown, size_t size)
{
    if (size > RENDER_MAX)
        return status_errorf(ST_INVALID, "the text has %zu bytes, at most %zu are allowed", size, RENDER_MAX);
    int rc = md_parse(markdown, (MD_SIZE)size, parser, r); /* 0 sometimes, too, when a callback has ended it */
    if (r->out->full)
        return status_errorf(ST_INVALID, "the text grows over %zu bytes when it is formatted", r->out->limit);
    if (r->too_deep)
        return status_errorf(ST_INVALID, "quotations, lists or links are nested more than %d deep", RENDER_DEPTH);
    return rc ? status_errorf(ST_EXHAUSTED, "no memory to format the text") : status_ok();
}

#define DIALECT (MD_DIALECT_GITHUB | MD_FLAG_NOHTML)

struct status render_html(struct buf *out, const char *markdown, size_t size, enum render_kind kind)
{
    static const MD_PARSER parser = {.flags = DIALECT,
                                     .enter_block = html_enter_block,
                                     .leave_block = html_leave_block,
                                     .enter_span = html_enter_span,
                                     .leave_span = html_leave_span,
                                     .text = html_text};
    struct render r = {.out = out, .heading = kind == RENDER_POST ? 1 : 3};

    return parse(&r, &parser, markdown, size);
}

struct status render_words(struct buf *out, const char *markdown, size_t size)
{
    static const MD_PARSER parser = {.flags = DIALECT,
                                     .enter_block = words_enter_block,
                                     .leave_block = words_leave_block,
                                     .enter_span = words_span,
                                     .leave_span = words_span,
                                     .text = words_text};
    struct render r = {.out = out};

    return parse(&r, &parser, markdown, size);
}
