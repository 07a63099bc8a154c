/* objective.c - the names of losses, as they stand in configurations, plans and model files. */
#include "nn/nn.h"

#include <string.h>

static const char *const losses[] = {[NN_CROSS_ENTROPY] = "cross-entropy", [NN_HINGE] = "hinge"};

const char *nn_loss_name(enum nn_loss_kind loss)
{
    return losses[loss];
}

struct status nn_loss_parse(const char *name, enum nn_loss_kind *loss)
{
    for (size_t i = 0; i < COUNT_OF(losses); i++)
        if (!strcmp(losses[i], name)) {
            *loss = (enum nn_loss_kind)i;
            return status_ok();
        }
    return status_errorf(ST_INVALID, "loss \"%.32s\": must be cross-entropy or hinge", name);
}
