/* render.h - Markdown of posts and comments as HTML that is safe to put into a page, and as plain words.
 *
 * The dialect is CommonMark with tables, strikethrough, task lists and bare links (https://github.com/mity/md4c). What an
 * author may not do is not removed from HTML afterwards but never written: every tag, attribute and class stands in
 * render.c, everything else is text. So
 * - HTML in the source is shown as the text it is;
 * - links go to http, https, mailto or a place on this site, and carry rel="nofollow ugc noopener"; others become their
 *   text;
 * - pictures come from RENDER_MEDIA on this site; those from elsewhere, which would tell a stranger who reads, are links;
 * - headings begin below those of the page.
 * All functions are pure and thread-safe. */
#ifndef BLOG_RENDER_H
#define BLOG_RENDER_H

#include "base/base.h"

#include <stddef.h>

#define RENDER_MAX   ((size_t)256 << 10) /* bytes of Markdown */
#define RENDER_DEPTH 32                  /* quotations and lists within each other */
#define RENDER_MEDIA "/api/media/"

enum render_kind {
    RENDER_POST,    /* # becomes h2 */
    RENDER_COMMENT, /* # becomes h4 */
};

/* Adds the HTML of valid UTF-8 to out. ST_INVALID: over RENDER_MAX or RENDER_DEPTH, or the HTML passes out's limit. */
struct status render_html(struct buf *out, const char *markdown, size_t size, enum render_kind kind);

/* Adds the words alone, blocks apart by a newline, for excerpts, feeds, the search and the text models. Errors as above. */
struct status render_words(struct buf *out, const char *markdown, size_t size);

/* Adds text with & < > " ' escaped, for HTML and XML. */
void render_escape(struct buf *out, const char *text, size_t size);

#endif
