/* Writes on behind a prompt: generate MODEL "Once upon a time" [TOKENS]
 *
 *   cc generate.c $(pkg-config --cflags --libs espalier) -o generate */
#include <espalier.h>
#include <stdio.h>
#include <stdlib.h>

static bool print(const char *text, size_t bytes, void *user) {
  (void)user;
  return fwrite(text, 1, bytes, stdout) == bytes && fflush(stdout) == 0;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL PROMPT [TOKENS]\n", argv[0]);
    return 2;
  }
  espalier_model *model = espalier_model_load(argv[1], NULL);
  if (!model) {
    fprintf(stderr, "generate: %s\n", espalier_last_error());
    return 2;
  }
  espalier_generate_options options = espalier_default_generate_options();
  if (argc > 3) options.max_tokens = atol(argv[3]);
  printf("%s", argv[2]);
  const int64_t made = espalier_generate(model, argv[2], &options, NULL, print, NULL);
  printf("\n");
  if (made < 0) fprintf(stderr, "generate: %s\n", espalier_last_error());
  espalier_model_free(model);
  return made < 0 ? 2 : 0;
}
