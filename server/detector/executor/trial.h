/* trial.h - which engine computes this network right, and fastest? Asked once at start, before it serves. */
#ifndef DETECTOR_TRIAL_H
#define DETECTOR_TRIAL_H

#include "reference.h"

#define TRIAL_TOLERANCE 1e-4 /* largest |ours - darknet's| / max(1, |darknet's|) that passes in an exact engine */

struct trial {
    double forward_seconds; /* the best of a few, of a core of one's own */
    double error;           /* as TRIAL_TOLERANCE; of engines that are not exact: the root mean square difference, over
                               that of darknet's outputs; 0 when there was nothing to compare with */
    bool compared;          /* false: darknet is not installed, only finite outputs were checked */
};

/* Makes such an engine, runs it and compares. ST_INVALID: outputs that are not finite or differ. */
struct status trial_engine(struct engine **out, const struct engine_kind *kind, const struct network *net,
                           const struct reference *reference, struct trial *result);

/* The same alone, with a reference of its own (see reference_get()), and without keeping the engine. */
struct status trial_run(const struct engine_kind *kind, const struct network *net, struct trial *result);

/* The fastest engine that passes; kinds that others are certain to beat are tried only when those fail. name: "auto", or
 * the only kind to be tried. precision: NULL, or only kinds of that. Gives the weights file back when no engine of this
 * network needs it any more (as engine_release_parameters() does the rest, once all clones are made). Logs every trial
 * with the model's name. ST_INVALID: none passes; the last one's reason. As reference_get(), before threads. */
struct status trial_choose(struct engine **out, struct trial *result, const char *name, const char *precision,
                           struct network *net, const char *model);

#endif
