/* migrations.h - the steps from an empty database to the blog's, for pg_migrate(). */
#ifndef BLOG_MIGRATIONS_H
#define BLOG_MIGRATIONS_H

#include "pg/pg.h"

extern const struct pg_migration blog_migrations[];
extern const size_t blog_n_migrations;

#endif
