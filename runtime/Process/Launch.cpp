//===- Launch.cpp - the variables of launchers, read in one place ---------===//

#include "../Core/Error.h"
#include "Process.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

using namespace cleave::runtime;

namespace {

struct Variables {
  cleave_launcher launcher;
  const char *name;
  const char *rank, *size;
  /// Equal to the size, or 1 where `countsHosts`, when all are on one host.
  const char *near;
  bool countsHosts;
  const char *place; ///< the number of the process on its host
};

} // namespace

static const Variables sets[] = {
    {CLEAVE_LAUNCHER_OPEN_MPI, "Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_SIZE", false, "OMPI_COMM_WORLD_LOCAL_RANK"},
    {CLEAVE_LAUNCHER_MPICH, "MPICH", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", false,
     "MPI_LOCALRANKID"},
    {CLEAVE_LAUNCHER_SLURM, "Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_NNODES", true,
     "SLURM_LOCALID"},
    {CLEAVE_LAUNCHER_TORCHRUN, "torchrun", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", false,
     "LOCAL_RANK"},
};

static bool parse(const char *text, uint32_t &number) {
  const char *end = text + strlen(text);
  auto [stop, problem] = std::from_chars(text, end, number);
  return problem == std::errc() && stop == end;
}

static int32_t read(const char *name, uint32_t &number, cleave_error *error) {
  const char *text = getenv(name);
  if (!text || !parse(text, number))
    return fail(error, CLEAVE_REFUSED, "%s is to be a number, got: \"%.100s\"", name,
                text ? text : "");
  return CLEAVE_OK;
}

static int32_t readSet(const Variables &set, cleave_launch &launch, cleave_error *error) {
  launch.launcher = set.launcher;
  if (!getenv(set.size))
    return fail(error, CLEAVE_REFUSED, "%s is set and %s is not; start all ranks with one launcher",
                set.rank, set.size);
  if (int32_t status = read(set.rank, launch.rank, error))
    return status;
  if (int32_t status = read(set.size, launch.size, error))
    return status;
  if (launch.rank >= launch.size)
    return fail(error, CLEAVE_REFUSED, "%s is to be below %s, got: %u of %u", set.rank, set.size,
                launch.rank, launch.size);
  uint32_t place;
  if (getenv(set.place))
    if (int32_t status = read(set.place, place, error))
      return status;
  uint32_t near;
  const char *text = getenv(set.near);
  launch.one_host = launch.size == 1 ||
                    (text && parse(text, near) && near == (set.countsHosts ? 1 : launch.size));
  return CLEAVE_OK;
}

std::optional<uint32_t> cleave::runtime::placeByVariable(uint32_t launcher) {
  uint32_t place;
  for (const Variables &set : sets)
    if (const char *text = getenv(set.place);
        text && uint32_t(set.launcher) == launcher && parse(text, place))
      return place;
  return {};
}

int32_t cleave_launch_read(cleave_launch *launch, cleave_error *error) {
  *launch = {CLEAVE_LAUNCHER_NONE, 0, 1, 1};
  const Variables *found = nullptr;
  for (const Variables &set : sets) {
    if (!getenv(set.rank))
      continue;
    cleave_launch own;
    if (int32_t status = readSet(set, own, error))
      return status;
    bool nested = found && found->launcher == CLEAVE_LAUNCHER_MPICH &&
                  set.launcher == CLEAVE_LAUNCHER_SLURM && own.rank == launch->rank &&
                  own.size == launch->size;
    if (nested)
      continue;
    if (found)
      return fail(error, CLEAVE_REFUSED,
                  "variables of two launchers are set, %s of %s and %s of %s; use one launcher, or "
                  "unset the variables of the other",
                  found->rank, found->name, set.rank, set.name);
    found = &set;
    *launch = own;
  }
  return CLEAVE_OK;
}
