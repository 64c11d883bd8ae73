//===- Encode.cpp - a program as FlatBuffers ------------------------------===//

#include "cleave/Runtime/ArtifactFormat.h"

#include "Images.h"
#include "Program_generated.h"

#include <unordered_map>

using namespace cleave::runtime;

namespace {

class Encoder {
public:
  Encoder(const cleave_program &program, const ProgramDetails &details)
      : program(program), details(details) {}

  std::string encode() {
    auto classes = makeClasses();
    auto groups = makeGroups();
    auto files = makeFiles();
    auto inputs = makeValues(program.inputs, program.num_inputs);
    auto outputs = makeValues(program.outputs, program.num_outputs);
    auto buffers = make<fb::Buffer>(program.buffers, program.num_buffers, [](auto &buffer) {
      return fb::Buffer(buffer.space, buffer.index, buffer.offset, buffer.bytes);
    });
    List<const fb::Params *> params;
    if (program.params)
      params = make<fb::Params>(program.params, program.num_ranks, [](auto &params) {
        return fb::Params(params.file, params.offset);
      });
    List<const fb::DeviceKernel *> deviceKernels;
    List<const fb::Image *> images;
    List<const fb::Map *> maps;
    if (program.device != CLEAVE_DEVICE_CPU) {
      deviceKernels =
          make<fb::DeviceKernel>(program.device_kernels, program.num_kernels, [](auto &kernel) {
            return fb::DeviceKernel(kernel.first_image, kernel.num_images);
          });
      images = make<fb::Image>(program.images, program.num_images, [](auto &image) {
        return fb::Image(image.kind, uint8_t(image.feature), image.chip, image.bytes, image.blocks,
                         image.threads, image.shared_bytes, image.resident, image.first_map,
                         image.num_maps);
      });
      maps = make<fb::Map>(program.maps, program.num_maps, [](auto &map) {
        return fb::Map(map.buffer, map.element_bytes, map.num_dims, map.swizzle, map.offset,
                       map.sizes, map.strides, map.box);
      });
    }
    auto coordinates =
        builder.CreateVector(program.coordinates, size_t(program.num_ranks) * program.num_axes);
    auto classOfRank = builder.CreateVector(program.class_of_rank, program.num_ranks);
    auto counts = builder.CreateVector(program.counts, program.num_counts);
    auto kernels = builder.CreateVectorOfStrings(details.kernels);
    auto commandNames = builder.CreateVectorOfStrings(names);
    fb::FinishProgramBuffer(
        builder, fb::CreateProgram(builder, program.version, program.num_axes, coordinates,
                                   classOfRank, classes, groups, buffers, counts, kernels, files,
                                   params, inputs, outputs, commandNames, program.device,
                                   deviceKernels, images, program.cuda_version, maps));
    return {reinterpret_cast<const char *>(builder.GetBufferPointer()), builder.GetSize()};
  }

private:
  template <typename T> using List = flatbuffers::Offset<flatbuffers::Vector<T>>;

  template <typename Struct, typename T, typename Convert>
  List<const Struct *> make(const T *list, uint32_t count, Convert convert) {
    std::vector<Struct> structs;
    for (uint32_t i = 0; i < count; ++i)
      structs.push_back(convert(list[i]));
    return builder.CreateVectorOfStructs(structs);
  }

  uint32_t nameOf(const char *name) {
    auto [entry, isNew] = nameNumbers.try_emplace(name ? name : "", uint32_t(names.size()));
    if (isNew)
      names.push_back(entry->first);
    return entry->second;
  }

  List<const fb::Command *> makeCommands(const cleave_command *list, uint32_t count) {
    return make<fb::Command>(list, count, [this](const cleave_command &c) {
      return fb::Command(c.op, c.type, c.reduction, c.kernel, c.num_outputs, c.group, c.peer,
                         c.first_buffer, c.num_buffers, c.first_count, c.num_counts,
                         nameOf(c.name));
    });
  }

  List<flatbuffers::Offset<fb::Class>> makeClasses() {
    std::vector<flatbuffers::Offset<fb::Class>> list;
    for (uint32_t i = 0; i < program.num_programs; ++i) {
      const cleave_rank_program &own = program.programs[i];
      auto load = makeCommands(own.load, own.num_load);
      auto main = makeCommands(own.main, own.num_main);
      list.push_back(fb::CreateClass(builder, load, main, own.param_bytes, own.arena_bytes));
    }
    return builder.CreateVector(list);
  }

  List<flatbuffers::Offset<fb::Group>> makeGroups() {
    std::vector<flatbuffers::Offset<fb::Group>> list;
    for (uint32_t i = 0; i < program.num_groups; ++i) {
      auto members = builder.CreateVector(program.groups[i].members, program.num_ranks);
      list.push_back(fb::CreateGroup(builder, members, program.groups[i].group_size));
    }
    return builder.CreateVector(list);
  }

  List<flatbuffers::Offset<fb::File>> makeFiles() {
    std::vector<flatbuffers::Offset<fb::File>> list;
    for (uint32_t i = 0; i < program.num_files; ++i) {
      const std::vector<DigestBlock> &its = details.files[i].blocks;
      auto path = builder.CreateString(program.files[i].path);
      auto blocks = make<fb::Block>(its.data(), uint32_t(its.size()), [](const DigestBlock &block) {
        return fb::Block(block.offset, block.bytes, block.digest.low, block.digest.high);
      });
      list.push_back(fb::CreateFile(builder, path, program.files[i].bytes,
                                    details.files[i].reference, blocks));
    }
    return builder.CreateVector(list);
  }

  List<flatbuffers::Offset<fb::Value>> makeValues(const cleave_value *values, uint32_t count) {
    std::vector<flatbuffers::Offset<fb::Value>> list;
    for (uint32_t i = 0; i < count; ++i) {
      auto name = builder.CreateString(values[i].name ? values[i].name : "");
      auto dims = builder.CreateVector(values[i].dims, values[i].num_dims);
      list.push_back(fb::CreateValue(builder, name, values[i].type, dims, values[i].rank));
    }
    return builder.CreateVector(list);
  }

  const cleave_program &program;
  const ProgramDetails &details;
  flatbuffers::FlatBufferBuilder builder;
  std::vector<std::string> names;
  std::unordered_map<std::string, uint32_t> nameNumbers;
};

} // namespace

std::string cleave::runtime::packImages(const cleave_program &program) {
  std::string section;
  for (uint32_t i = 0; i < program.num_images; ++i) {
    section.resize(imageOffset(section.size()));
    section.append(static_cast<const char *>(program.images[i].data), program.images[i].bytes);
  }
  return section;
}

std::string cleave::runtime::encodeProgram(const cleave_program &program,
                                           const ProgramDetails &details) {
  return Encoder(program, details).encode();
}
