/* post_store.h - posts and their tags as rows. A post is a draft until it is published, and deleted softly: its row stays,
 * nobody but the database sees it. Every text lives in db->arena. */
#ifndef BLOG_POST_STORE_H
#define BLOG_POST_STORE_H

#include "pg/pg.h"

#include <stdbool.h>

#define POST_MAX_TITLE   200 /* characters, as in the table's checks */
#define POST_MAX_SUMMARY 500
#define POST_MAX_TAGS    8
#define POST_MAX_TAG     32
#define POST_MAX_PAGE    100

struct post_author {
    int64_t id;
    const char *name, *display_name, *avatar_id; /* "": no picture */
};

/* A post as a list shows it, and with markdown and html as its page does. */
struct post {
    int64_t id, version, n_comments;
    struct post_author author;
    const char *slug, *title, *summary, *language;
    const char *cover_id, *cover_alt;             /* "": none */
    const char *tags;                             /* a JSON array of names */
    const char *markdown, *html;                  /* "" in lists */
    int64_t created_at, updated_at, published_at; /* clock_wall() scale; published_at 0: a draft */
};

/* What an author gives; NULL (or -1) at an edit: stays. Already checked for length and validity. */
struct post_draft {
    const char *title, *summary, *markdown, *language, *cover_id, *cover_alt; /* cover_id "": none */
    const char *html;                                                         /* of markdown */
    const char *search;                                                       /* text of a tsvector, see search.h */
    const char *tags; /* a JSON array of at most POST_MAX_TAGS names */
    int publish;      /* 1 publishes, 0 makes it a draft again */
};

/* The slug is made of the title: letters and digits of any script, words joined by '-'; a number behind it when it is taken
 * by another. */
struct status post_create(struct pg *db, int64_t author_id, const struct post_draft *draft, struct post *out);

/* ST_ABORTED: somebody else has edited it since `version`; 0: whatever it is. */
struct status post_edit(struct pg *db, int64_t id, int64_t version, const struct post_draft *draft, struct post *out);
struct status post_delete(struct pg *db, int64_t id);

/* By number or slug. ST_NOT_FOUND: none, deleted, or a draft that is not of viewer_id (0: anybody's; -1: all are seen). */
struct status post_find(struct pg *db, const char *id_or_slug, int64_t viewer_id, struct post *out);

struct post_filter {
    const char *tag;           /* NULL: any */
    const char *query;         /* text of a tsquery, see search.h; NULL: all. With it the best come first */
    const char *author;        /* name; NULL: anybody */
    int64_t drafts_of;         /* the drafts of this user; 0: what is published */
    int64_t limit;             /* 1..POST_MAX_PAGE */
    int64_t before, before_id; /* goes on after this one, as the cursor says: its time, its id; 0: from the newest */
    int64_t offset;            /* goes on here instead, for a search */
};

/* *posts: (*n,), at most limit, newest first. */
struct status post_list(struct pg *db, const struct post_filter *filter, struct post **posts, size_t *n);

/* Tags of published posts, the most used first: a JSON array of {"name", "posts"}. */
struct status post_tags(struct pg *db, int64_t limit, const char **json);

#endif
