//===- c-run.c - runs an artifact from C ----------------------------------===//
//
//   c-run ARTIFACT [NAME=FILE]...
//
// FILE holds the elements of input NAME, row by row, as they lie in memory. Prints the
// outputs. Ends with the status of the first error, which is told in one line.
//
//===----------------------------------------------------------------------===//

#include "cleave/Runtime/Artifact.h"
#include "cleave/Runtime/Session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// All that has to be given back.
typedef struct run_state {
  cleave_artifact *artifact;
  cleave_session *session;
  cleave_input *inputs;
  cleave_output *outputs;
} run_state;

static int fail(int status, const char *what, const char *name) {
  fprintf(stderr, "c-run: %s%s\n", what, name);
  return status;
}

static uint64_t bytes_of(const cleave_value *value) {
  uint64_t bytes = cleave_type_bytes(value->type);
  for (uint32_t i = 0; i < value->num_dims; ++i)
    bytes *= (uint64_t)value->dims[i];
  return bytes;
}

/// The file given for input `name`, or null.
static const char *file_for(const char *name, int count, char **arguments) {
  size_t length = strlen(name);
  for (int i = 0; i < count; ++i)
    if (!strncmp(arguments[i], name, length) && arguments[i][length] == '=')
      return arguments[i] + length + 1;
  return NULL;
}

/// Reads a whole file; its bytes are for the session to judge.
static int read_input(const char *path, cleave_input *input) {
  FILE *file = fopen(path, "rb");
  if (!file)
    return fail(CLEAVE_REFUSED, "cannot open ", path);
  fseek(file, 0, SEEK_END);
  long bytes = ftell(file);
  rewind(file);
  void *data = bytes < 0 ? NULL : malloc(bytes ? (size_t)bytes : 1);
  int read = data && fread(data, 1, (size_t)bytes, file) == (size_t)bytes;
  fclose(file);
  input->data = data;
  input->bytes = (uint64_t)bytes;
  return read ? CLEAVE_OK : fail(CLEAVE_REFUSED, "cannot read ", path);
}

/// Reads all inputs and makes room for all outputs.
static int bind(run_state *state, const cleave_program *program, int count, char **arguments) {
  state->inputs = calloc(program->num_inputs + 1, sizeof *state->inputs);
  state->outputs = calloc(program->num_outputs + 1, sizeof *state->outputs);
  if (!state->inputs || !state->outputs)
    return fail(CLEAVE_REFUSED, "out of memory", "");
  for (uint32_t i = 0; i < program->num_inputs; ++i) {
    const char *name = program->inputs[i].name;
    const char *path = file_for(name, count, arguments);
    if (!path)
      return fail(CLEAVE_REFUSED, "no NAME=FILE for input ", name);
    int status = read_input(path, &state->inputs[i]);
    if (status)
      return status;
  }
  for (uint32_t i = 0; i < program->num_outputs; ++i) {
    uint64_t bytes = bytes_of(&program->outputs[i]);
    state->outputs[i].bytes = bytes;
    state->outputs[i].data = malloc(bytes ? bytes : 1);
    if (!state->outputs[i].data)
      return fail(CLEAVE_REFUSED, "out of memory for output ", program->outputs[i].name);
  }
  return CLEAVE_OK;
}

/// Type and shape of an output, and of floats the first eight.
static void print(const cleave_value *value, const cleave_output *output) {
  printf("%s: %s [", value->name, cleave_type_name(value->type));
  for (uint32_t i = 0; i < value->num_dims; ++i)
    printf("%s%" PRId64, i ? ", " : "", value->dims[i]);
  printf("]");
  uint64_t elements = output->bytes / cleave_type_bytes(value->type);
  if (value->type == CLEAVE_F32)
    for (uint64_t i = 0; i < elements && i < 8; ++i)
      printf(" %.9g", (double)((const float *)output->data)[i]);
  printf("\n");
}

static int run(run_state *state, int count, char **arguments) {
  cleave_error error;
  int status = cleave_artifact_open(arguments[0], NULL, &state->artifact, &error);
  if (status)
    return fail(status, error.message, "");
  const cleave_program *program = cleave_artifact_program(state->artifact);
  status = bind(state, program, count - 1, arguments + 1);
  if (status)
    return status;

  cleave_session_options options = CLEAVE_SESSION_OPTIONS;
  options.deadline_ms = 10000;
  status = cleave_session_create(program, &options, &state->session, &error);
  if (status)
    return fail(status, error.message, "");
  status = cleave_session_run(state->session, state->inputs, state->outputs, &error);
  if (status)
    return fail(status, error.message, "");
  for (uint32_t i = 0; i < program->num_outputs; ++i)
    print(&program->outputs[i], &state->outputs[i]);
  return CLEAVE_OK;
}

/// In the opposite order: a session uses the artifact's program to its end.
static void release(run_state *state) {
  const cleave_program *program = state->artifact ? cleave_artifact_program(state->artifact) : NULL;
  for (uint32_t i = 0; state->inputs && i < program->num_inputs; ++i)
    free((void *)state->inputs[i].data);
  for (uint32_t i = 0; state->outputs && i < program->num_outputs; ++i)
    free(state->outputs[i].data);
  free(state->inputs);
  free(state->outputs);
  cleave_session_destroy(state->session);
  cleave_artifact_close(state->artifact);
}

int main(int argc, char **argv) {
  if (argc < 2)
    return fail(CLEAVE_REFUSED, "usage: c-run ARTIFACT [NAME=FILE]...", "");
  if (cleave_abi_version() != CLEAVE_ABI_VERSION)
    return fail(CLEAVE_REFUSED, "made for another ABI than that of cleave ", cleave_version());
  run_state state = {0};
  int status = run(&state, argc - 1, argv + 1);
  release(&state);
  return status;
}
