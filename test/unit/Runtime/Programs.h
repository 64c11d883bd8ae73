//===- Programs.h - builds programs for the runtime's tests ----*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_RUNTIME_PROGRAMS_H
#define CLEAVE_TEST_UNIT_RUNTIME_PROGRAMS_H

#include "cleave/Runtime/Session.h"

#include <cstdlib>
#include <deque>
#include <numeric>
#include <string>
#include <vector>

namespace cleave::test {

/// A program whose ranks have a class each, and all that it points to.
class Builder {
public:
  explicit Builder(uint32_t ranks) : load(ranks), main(ranks) {
    program.version = CLEAVE_PROGRAM_VERSION;
    program.num_ranks = ranks;
    program.num_axes = 1;
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      coordinates.push_back(rank);
      classes.push_back(rank);
    }
    programs.resize(ranks);
  }

  uint32_t group(std::vector<uint32_t> members, uint32_t size) {
    memberLists.push_back(std::move(members));
    groups.push_back({memberLists.back().data(), size});
    return uint32_t(groups.size() - 1);
  }

  /// One set of all ranks.
  uint32_t world() {
    std::vector<uint32_t> members(program.num_ranks);
    std::iota(members.begin(), members.end(), 0);
    return group(members, program.num_ranks);
  }

  uint32_t kernel(cleave_kernel function) {
    kernels.push_back(function);
    return uint32_t(kernels.size() - 1);
  }

  uint32_t input(uint8_t type, int64_t elements) {
    dims.push_back(elements);
    inputs.push_back({"x", type, 1, &dims.back(), 0});
    return uint32_t(inputs.size() - 1);
  }

  uint32_t output(uint8_t type, int64_t elements, uint32_t rank = 0) {
    dims.push_back(elements);
    outputs.push_back({"y", type, 1, &dims.back(), rank});
    return uint32_t(outputs.size() - 1);
  }

  uint32_t file(std::string path, uint64_t bytes) {
    names.push_back(std::move(path));
    files.push_back({names.back().c_str(), bytes});
    return uint32_t(files.size() - 1);
  }

  /// Adds to `load` or `main` of a rank; `command` says the rest.
  void add(std::vector<cleave_command> &list, cleave_command command,
           const std::vector<cleave_buffer> &its, const std::vector<uint64_t> &itsCounts = {}) {
    command.first_buffer = uint32_t(buffers.size());
    command.num_buffers = uint32_t(its.size());
    command.first_count = uint32_t(counts.size());
    command.num_counts = uint32_t(itsCounts.size());
    buffers.insert(buffers.end(), its.begin(), its.end());
    counts.insert(counts.end(), itsCounts.begin(), itsCounts.end());
    list.push_back(command);
  }

  /// Ranks are on simulated GPUs, each on one of its own where the variable says nothing
  /// else; there are no kernels.
  void onGpu() {
    setenv("CLEAVE_SIMT_DEVICES", "8", 0);
    program.device = CLEAVE_DEVICE_SIMT;
  }

  const cleave_program *finish() {
    for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
      programs[rank].load = load[rank].data();
      programs[rank].num_load = uint32_t(load[rank].size());
      programs[rank].main = main[rank].data();
      programs[rank].num_main = uint32_t(main[rank].size());
    }
    program.coordinates = coordinates.data();
    program.class_of_rank = classes.data();
    auto table = [](auto &list, auto &pointer, uint32_t &count) {
      pointer = list.data();
      count = uint32_t(list.size());
    };
    table(programs, program.programs, program.num_programs);
    table(groups, program.groups, program.num_groups);
    table(buffers, program.buffers, program.num_buffers);
    table(counts, program.counts, program.num_counts);
    table(kernels, program.kernels, program.num_kernels);
    table(files, program.files, program.num_files);
    table(inputs, program.inputs, program.num_inputs);
    table(outputs, program.outputs, program.num_outputs);
    return &program;
  }

  cleave_program program = {};
  std::vector<std::vector<cleave_command>> load, main; ///< by rank
  std::vector<int64_t> coordinates;
  std::vector<uint32_t> classes;
  std::vector<cleave_rank_program> programs;
  std::deque<std::vector<uint32_t>> memberLists;
  std::vector<cleave_group> groups;
  std::vector<cleave_buffer> buffers;
  std::vector<uint64_t> counts;
  std::vector<cleave_kernel> kernels;
  std::deque<std::string> names;
  std::deque<int64_t> dims;
  std::vector<cleave_file> files;
  std::vector<cleave_value> inputs, outputs;
};

inline cleave_command launch(uint32_t kernel, uint32_t numOutputs, const char *name) {
  cleave_command command = {};
  command.op = CLEAVE_OP_LAUNCH;
  command.kernel = kernel;
  command.num_outputs = numOutputs;
  command.name = name;
  return command;
}

inline cleave_command local(cleave_op op, const char *name) {
  cleave_command command = {};
  command.op = uint8_t(op);
  command.name = name;
  return command;
}

inline cleave_command collective(cleave_op op, uint8_t type, uint8_t reduction, uint32_t group,
                                 const char *name) {
  cleave_command command = {};
  command.op = uint8_t(op);
  command.type = type;
  command.reduction = reduction;
  command.group = group;
  command.name = name;
  return command;
}

inline cleave_command transfer(cleave_op op, uint8_t type, uint32_t group, uint32_t peer,
                               const char *name) {
  cleave_command command = collective(op, type, 0, group, name);
  command.peer = peer;
  return command;
}

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_RUNTIME_PROGRAMS_H
