/* migrations.c - see migrations.h. */
#include "migrations.h"

#define STEP(file) extern const char migration_##file[], migration_##file##_end[];
STEP(0001_samples)
STEP(0002_blog)
#undef STEP

const struct pg_migration blog_migrations[] = {
    {"samples", migration_0001_samples, migration_0001_samples_end},
    {"blog", migration_0002_blog, migration_0002_blog_end},
};
const size_t blog_n_migrations = COUNT_OF(blog_migrations);
