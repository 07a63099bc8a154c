/* probe_texts.h - texts on which the engines of a model are compared and timed: comments and reviews as people write
 * them, Chinese and mixed, 1 to 200 characters, written for this purpose. Private to lib/classifier. */
#ifndef CLASSIFIER_PROBE_TEXTS_H
#define CLASSIFIER_PROBE_TEXTS_H

#define PROBE_TEXTS 45

extern const char *const probe_texts[PROBE_TEXTS];

#endif
