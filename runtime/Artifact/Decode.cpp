//===- Decode.cpp - FlatBuffers as a program ------------------------------===//
//
// The verifier of FlatBuffers has shown that all lists lie inside the bytes.
// Here: lengths that a cleave_program takes for granted, and that lists are as
// large as their bytes, since many tables may point to one list and would unpack
// to more than any memory. All else is left to cleave_program_verify.
//
//===----------------------------------------------------------------------===//

#include "cleave/Runtime/ArtifactFormat.h"

#include "../Core/Error.h"
#include "Images.h"
#include "Program_generated.h"

#include <algorithm>
#include <climits>
#include <type_traits>

using namespace cleave::runtime;

static int32_t standIn(void *const *, const int64_t *) { return CLEAVE_FAULT_INDEX; }

struct DecodedProgram::Decoder {
  DecodedProgram &into;
  const fb::Program &from;
  const std::string_view section;
  uint64_t bytesLeft;
  cleave_error *error;

  int32_t decode() {
    if (from.version() != CLEAVE_PROGRAM_VERSION)
      return fail(error, CLEAVE_REFUSED, "is of version %u, this runtime reads %u", from.version(),
                  CLEAVE_PROGRAM_VERSION);
    if (int32_t status = takeTables())
      return status;
    if (int32_t status = ranks())
      return status;
    if (int32_t status = classes())
      return status;
    if (int32_t status = groups())
      return status;
    if (int32_t status = files())
      return status;
    for (const fb::Buffer *buffer : *from.buffers())
      into.buffers.push_back({buffer->space(), buffer->index(), buffer->offset(), buffer->bytes()});
    into.counts.assign(from.counts()->begin(), from.counts()->end());
    for (const flatbuffers::String *name : *from.kernels()) {
      if (int32_t status = take(*name))
        return status;
      into.details.kernels.push_back(name->str());
    }
    if (int32_t status = isOfCores() ? cores() : device())
      return status;
    if (int32_t status = values(*from.inputs(), into.inputs))
      return status;
    if (int32_t status = values(*from.outputs(), into.outputs))
      return status;
    finish();
    return CLEAVE_OK;
  }

private:
  /// Takes the bytes of a list from those of the whole. The verifier of FlatBuffers
  /// looks at the place of a list's length only, not at that of its elements.
  template <typename T> int32_t take(const flatbuffers::Vector<T> &list) {
    using Element = std::remove_const_t<std::remove_pointer_t<T>>;
    uint64_t bytes = list.size() * sizeof(Element);
    if (list.size() && reinterpret_cast<uintptr_t>(list.Data()) % alignof(Element))
      return fail(error, CLEAVE_REFUSED, "has a list at a place that is not aligned");
    if (bytes > bytesLeft)
      return fail(error, CLEAVE_REFUSED, "has lists that lie over each other");
    bytesLeft -= bytes;
    return CLEAVE_OK;
  }

  /// The lists that there are one of.
  int32_t takeTables() {
    if (int32_t status = take(*from.coordinates()))
      return status;
    if (int32_t status = take(*from.class_of_rank()))
      return status;
    if (int32_t status = take(*from.buffers()))
      return status;
    if (int32_t status = take(*from.counts()))
      return status;
    if (int32_t status = take(*from.kernels()))
      return status;
    if (int32_t status = from.params() ? take(*from.params()) : int32_t(CLEAVE_OK))
      return status;
    if (int32_t status = from.images() ? take(*from.images()) : int32_t(CLEAVE_OK))
      return status;
    if (int32_t status = from.maps() ? take(*from.maps()) : int32_t(CLEAVE_OK))
      return status;
    return from.device_kernels() ? take(*from.device_kernels()) : int32_t(CLEAVE_OK);
  }

  int32_t ranks() {
    uint64_t count = from.class_of_rank()->size();
    if (from.coordinates()->size() != count * from.num_axes())
      return fail(error, CLEAVE_REFUSED, "has %u coordinates for %llu ranks of %u axes",
                  from.coordinates()->size(), (unsigned long long)count, from.num_axes());
    if (from.params() && from.params()->size() != count)
      return fail(error, CLEAVE_REFUSED, "has parameters for %u ranks, of %llu",
                  from.params()->size(), (unsigned long long)count);
    into.coordinates.assign(from.coordinates()->begin(), from.coordinates()->end());
    into.classOfRank.assign(from.class_of_rank()->begin(), from.class_of_rank()->end());
    if (from.params())
      for (const fb::Params *params : *from.params())
        into.params.push_back({params->file(), params->offset()});
    return CLEAVE_OK;
  }

  int32_t commands(const flatbuffers::Vector<const fb::Command *> &list,
                   std::vector<cleave_command> &commands) {
    if (int32_t status = take(list))
      return status;
    for (const fb::Command *c : list) {
      if (c->name() >= from.names()->size())
        return fail(error, CLEAVE_REFUSED, "has a command whose name is number %u, of %u",
                    c->name(), from.names()->size());
      commands.push_back({c->op(), c->type(), c->reduction(), c->kernel(), c->num_outputs(),
                          c->group(), c->peer(), c->first_buffer(), c->num_buffers(),
                          c->first_count(), c->num_counts(),
                          from.names()->Get(c->name())->c_str()});
    }
    return CLEAVE_OK;
  }

  int32_t classes() {
    for (const fb::Class *own : *from.classes()) {
      Commands &lists = into.commands.emplace_back();
      if (int32_t status = commands(*own->load(), lists.load))
        return status;
      if (int32_t status = commands(*own->main(), lists.main))
        return status;
      into.programs.push_back({nullptr, uint32_t(lists.load.size()), nullptr,
                               uint32_t(lists.main.size()), own->param_bytes(),
                               own->arena_bytes()});
    }
    return CLEAVE_OK;
  }

  int32_t groups() {
    for (const fb::Group *group : *from.groups()) {
      if (group->members()->size() != into.classOfRank.size())
        return fail(error, CLEAVE_REFUSED, "has a group of %u members for %zu ranks",
                    group->members()->size(), into.classOfRank.size());
      if (int32_t status = take(*group->members()))
        return status;
      // FlatBuffers are little-endian, as all that runs a program is.
      into.groups.push_back({group->members()->data(), group->group_size()});
    }
    return CLEAVE_OK;
  }

  int32_t files() {
    for (const fb::File *file : *from.files()) {
      into.files.push_back({file->path()->c_str(), file->bytes()});
      ProgramDetails::File &details = into.details.files.emplace_back();
      details.reference = file->reference();
      if (int32_t status = take(*file->blocks()))
        return status;
      for (const fb::Block *block : *file->blocks()) {
        if (block->offset() > file->bytes() || block->bytes() > file->bytes() - block->offset())
          return fail(error, CLEAVE_REFUSED, "has a block that ends behind \"%.200s\"",
                      file->path()->c_str());
        details.blocks.push_back({block->offset(), block->bytes(), {block->low(), block->high()}});
      }
    }
    return CLEAVE_OK;
  }

  bool isOfCores() const { return from.device() == CLEAVE_DEVICE_CPU; }

  int32_t cores() {
    if (from.device_kernels() || from.images() || from.maps() || !section.empty())
      return fail(error, CLEAVE_REFUSED, "has images, and is for cores");
    into.kernels.assign(into.details.kernels.size(), standIn);
    return CLEAVE_OK;
  }

  int32_t device() {
    size_t count = into.details.kernels.size();
    if (!from.device_kernels() || !from.images() || !from.maps() ||
        from.device_kernels()->size() != count)
      return fail(error, CLEAVE_REFUSED, "does not say the images of its %zu kernels", count);
    for (size_t i = 0; i < count; ++i) {
      const fb::DeviceKernel &kernel = *from.device_kernels()->Get(unsigned(i));
      into.deviceKernels.push_back(
          {into.details.kernels[i].c_str(), kernel.first_image(), kernel.num_images()});
    }
    uint64_t end = 0;
    for (const fb::Image *image : *from.images()) {
      uint64_t begin = imageOffset(end), number = into.images.size();
      if (begin > section.size() || image->bytes() > section.size() - begin)
        return fail(error, CLEAVE_REFUSED,
                    "has an image %llu of %llu bytes at %llu, beyond the %zu of all images",
                    (unsigned long long)number, (unsigned long long)image->bytes(),
                    (unsigned long long)begin, section.size());
      end = begin + image->bytes();
      if (!isWhole(image->kind(), section.substr(begin, image->bytes())))
        return fail(error, CLEAVE_REFUSED,
                    "has an image %llu that is not of its kind, or not whole",
                    (unsigned long long)number);
      into.images.push_back({image->kind(), char(image->feature()), image->chip(),
                             section.data() + begin, image->bytes(), image->blocks(),
                             image->threads(), image->shared_bytes(), image->resident(),
                             image->first_map(), image->num_maps()});
    }
    for (const fb::Map *map : *from.maps()) {
      cleave_map &own = into.maps.emplace_back(cleave_map{map->buffer(),
                                                          map->element_bytes(),
                                                          map->num_dims(),
                                                          map->swizzle(),
                                                          map->offset(),
                                                          {},
                                                          {},
                                                          {}});
      std::copy(map->sizes()->begin(), map->sizes()->end(), own.sizes);
      std::copy(map->strides()->begin(), map->strides()->end(), own.strides);
      std::copy(map->box()->begin(), map->box()->end(), own.box);
    }
    if (end != section.size())
      return fail(error, CLEAVE_REFUSED, "has images of %llu bytes, of %zu",
                  (unsigned long long)end, section.size());
    return CLEAVE_OK;
  }

  int32_t values(const flatbuffers::Vector<flatbuffers::Offset<fb::Value>> &list,
                 std::vector<cleave_value> &values) {
    for (const fb::Value *value : list) {
      if (int32_t status = take(*value->dims()))
        return status;
      values.push_back({value->name()->c_str(), value->type(), value->dims()->size(),
                        value->dims()->data(), value->rank()});
    }
    return CLEAVE_OK;
  }

  void finish() {
    for (size_t i = 0; i < into.programs.size(); ++i) {
      into.programs[i].load = into.commands[i].load.data();
      into.programs[i].main = into.commands[i].main.data();
    }
    cleave_program &program = into.program;
    auto set = [](auto &list, auto &data, uint32_t &count) {
      data = list.data();
      count = uint32_t(list.size());
    };
    program.version = from.version();
    program.num_axes = from.num_axes();
    program.coordinates = into.coordinates.data();
    set(into.classOfRank, program.class_of_rank, program.num_ranks);
    set(into.programs, program.programs, program.num_programs);
    set(into.groups, program.groups, program.num_groups);
    set(into.buffers, program.buffers, program.num_buffers);
    set(into.counts, program.counts, program.num_counts);
    program.device = from.device();
    program.cuda_version = from.cuda_version();
    set(into.images, program.images, program.num_images);
    set(into.maps, program.maps, program.num_maps);
    if (isOfCores())
      set(into.kernels, program.kernels, program.num_kernels);
    else
      set(into.deviceKernels, program.device_kernels, program.num_kernels);
    set(into.files, program.files, program.num_files);
    set(into.inputs, program.inputs, program.num_inputs);
    set(into.outputs, program.outputs, program.num_outputs);
    program.params = from.params() ? into.params.data() : nullptr;
  }
};

int32_t DecodedProgram::decode(std::string_view bytes, std::string_view section,
                               cleave_error *error) {
  const auto *data = reinterpret_cast<const uint8_t *>(bytes.data());
  // Tables are classes, groups, values and files: as many as there are bytes for.
  flatbuffers::Verifier verifier(data, bytes.size(), /*max_depth=*/16, /*max_tables=*/UINT_MAX);
  if (bytes.size() < 8 || bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE ||
      !fb::ProgramBufferHasIdentifier(data) || !fb::VerifyProgramBuffer(verifier))
    return fail(error, CLEAVE_REFUSED, "is no program");
  return Decoder{*this, *fb::GetProgram(data), section, bytes.size(), error}.decode();
}
