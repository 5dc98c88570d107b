/* espalier from C: load a language model, feed it tokens, let it write.
 *
 * Link with -lespalier (pkg-config espalier). Handles are opaque and owned by the caller. A model may be used by several
 * threads; passes over its weights happen one at a time. A context belongs to one thread at a time and must be freed before
 * its model.
 *
 * Errors: functions that return a pointer return NULL, functions that return a number return a negative one of
 * espalier_status; espalier_last_error() then says what was wrong, in one line, for the calling thread. */
#ifndef ESPALIER_H
#define ESPALIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espalier_model espalier_model;
typedef struct espalier_context espalier_context;

enum espalier_status {
  ESPALIER_OK = 0,
  ESPALIER_ERROR_INPUT = -1,  /* a file, an option or an argument is wrong */
  ESPALIER_ERROR_MEMORY = -2, /* there is not enough */
  ESPALIER_ERROR_BUG = -3     /* of espalier: please report it */
};

typedef struct espalier_model_options {
  int32_t threads;    /* 0: all cores */
  const char *dtype;  /* "auto" (as stored), "fp32", "bf16", "fp16", "int8" */
  int32_t int8_group; /* columns that share a scale: 32, 64, 128; 0: a whole row */
} espalier_model_options;

typedef struct espalier_context_options {
  int64_t capacity;           /* the most tokens; 0: the model's context length */
  const char *policy;         /* of attention: "dense", or an id that `espalier methods` lists */
  const char *policy_options; /* "name=value,name=value"; NULL: none */
  const char *cache;          /* "fp32", "bf16", "int8": how keys and values are stored */
  uint64_t seed;
} espalier_context_options;

typedef struct espalier_generate_options {
  int64_t max_tokens;
  double temperature; /* 0: always the most probable token */
  int64_t top_k;      /* 0: no limit */
  double top_p, min_p;
  double repetition_penalty;
  uint64_t seed;
  const char *const *stop; /* texts that end the answer, the last one followed by NULL; NULL: none */
} espalier_generate_options;

/* A piece of valid UTF-8, not terminated. False ends the generation. */
typedef bool (*espalier_text_fn)(const char *text, size_t bytes, void *user);

const char *espalier_version(void);
/* Of the last call that failed on this thread; "" if none did. Valid until the next one fails. */
const char *espalier_last_error(void);

espalier_model_options espalier_default_model_options(void);
espalier_context_options espalier_default_context_options(void);
espalier_generate_options espalier_default_generate_options(void);

/* path: a directory in the form of Hugging Face, a checkpoint file, or the name of an embedded model. options: NULL for
 * the defaults. Weights stay mapped files where their form allows it. */
espalier_model *espalier_model_load(const char *path, const espalier_model_options *options);
void espalier_model_free(espalier_model *model); /* NULL is fine */
int32_t espalier_model_vocab_size(const espalier_model *model);
int64_t espalier_model_context_length(const espalier_model *model);

/* Returns how many tokens the text has and writes the first `capacity` of them. add_special: with what the tokenizer puts
 * around a text, as BOS. */
int64_t espalier_tokenize(const espalier_model *model, const char *text, size_t bytes, bool add_special, int32_t *tokens,
                          int64_t capacity);
/* Returns how many bytes the text has and writes the first `capacity` of them; no terminating NUL. */
int64_t espalier_detokenize(const espalier_model *model, const int32_t *tokens, int64_t count, char *text, int64_t capacity);
/* Whether this token ends a generation. */
bool espalier_is_stop_token(const espalier_model *model, int32_t token);

/* A sequence with its cache. options: NULL for the defaults. */
espalier_context *espalier_context_new(espalier_model *model, const espalier_context_options *options);
void espalier_context_free(espalier_context *context); /* NULL is fine */
int64_t espalier_context_length(const espalier_context *context);
/* Appends tokens; logits: room for vocab_size floats, of what follows the last token, or NULL. */
int32_t espalier_context_step(espalier_context *context, const int32_t *tokens, int64_t count, float *logits);

/* Writes on behind the prompt, in a context of its own. Returns the number of generated tokens. options: NULL for the
 * defaults; context: NULL for the defaults, its capacity is not used; on_text may be NULL. */
int64_t espalier_generate(espalier_model *model, const char *prompt, const espalier_generate_options *options,
                          const espalier_context_options *context, espalier_text_fn on_text, void *user);

#ifdef __cplusplus
}
#endif

#endif /* ESPALIER_H */
