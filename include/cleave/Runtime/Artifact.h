//===- Artifact.h - opens what the compiler has put on disk ---*- C -*-===//
//
//   cleave_artifact *artifact;
//   cleave_artifact_open("model.cleave", NULL, &artifact, &error);
//   cleave_session_create(cleave_artifact_program(artifact), NULL, &session, &error);
//   …
//   cleave_session_destroy(session);
//   cleave_artifact_close(artifact);
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_ARTIFACT_H
#define CLEAVE_RUNTIME_ARTIFACT_H

#include "cleave/Runtime/Program.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cleave_artifact cleave_artifact;

/// Zero in any field but `size` means its default.
typedef struct cleave_artifact_options {
  uint32_t size; ///< sizeof(cleave_artifact_options), as the caller knows it
  /// Nonzero: reads all weights and holds them against their digests. By default
  /// some MiB of each file, evenly spread: they tell another model, and files of that
  /// size are checked whole.
  uint32_t verify_weights;
} cleave_artifact_options;

/// As in `cleave_artifact_options options = CLEAVE_ARTIFACT_OPTIONS;`
#define CLEAVE_ARTIFACT_OPTIONS {sizeof(cleave_artifact_options), 0}

/// Opens the folder `path`. `options` may be null. Each step relies on those before it:
/// the manifest and its digest; version, target, and features of the processor; sizes
/// and digests of the program and the kernels; the structure of the program; the files
/// of weights; cleave_program_verify; and only then are the kernels of cores loaded. Those
/// of GPUs are by a session, which says what the GPU or its driver lacks.
///
/// Answers CLEAVE_REFUSED, with one message that names the file, for all that does not
/// hold, and writes null to `artifact`. Weights are mapped by the session, not here.
int32_t cleave_artifact_open(const char *path, const cleave_artifact_options *options,
                             cleave_artifact **artifact, cleave_error *error);

/// Verified; lives as long as the artifact. Its parameters are mapped from the files; no
/// session copies them but to GPUs.
const cleave_program *cleave_artifact_program(const cleave_artifact *artifact);

/// What its ranks are, as in "dp=2,tp=4"; "1" for one rank.
const char *cleave_artifact_mesh(const cleave_artifact *artifact);

/// The least and the largest index that elements of an input may be, and the node that
/// looks them up, by which a caller may refuse others before a run fails of them. Null
/// where they are no indices.
const char *cleave_artifact_indices(const cleave_artifact *artifact, uint32_t input, int64_t *from,
                                    int64_t *to);

/// May be null. Sessions of its program end before.
void cleave_artifact_close(cleave_artifact *artifact);

#ifdef __cplusplus
}
#endif

#endif // CLEAVE_RUNTIME_ARTIFACT_H
