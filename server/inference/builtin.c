/* builtin.c - see builtin.h. The build embeds the files as they lie in builtin/. */
#include "builtin.h"

extern const char builtin_sentiment[], builtin_sentiment_end[];
extern const char builtin_troll[], builtin_troll_end[];

void builtin_models(struct served_builtin models[BUILTIN_MODELS])
{
    models[0] =
        (struct served_builtin){"sentiment", builtin_sentiment, (size_t)(builtin_sentiment_end - builtin_sentiment)};
    models[1] = (struct served_builtin){"troll", builtin_troll, (size_t)(builtin_troll_end - builtin_troll)};
}
