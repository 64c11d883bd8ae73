//===- Ship.cpp - the program as it is shipped ----------------------------===//

#include "Parts.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace cleave;
using namespace cleave::artifact;

Shipment::Shipment(const cleave_program &source, const ProgramParts &parts, bool reference)
    : source(source), parts(parts), reference(reference), loads(reference || !isOfCores()),
      program(source) {
  if (!reference)
    collectCopies();
  params.resize(source.num_ranks);
  for (const cleave_rank_program &own : llvm::ArrayRef(source.programs, source.num_programs)) {
    Commands &lists = commands.emplace_back();
    // Else what it makes is what the files hold.
    if (loads)
      takeCommands(own.load, own.num_load, lists.load);
    takeCommands(own.main, own.num_main, lists.main);
    programs.push_back(own);
  }
}

void Shipment::takeCommands(const cleave_command *list, uint32_t count,
                            std::vector<cleave_command> &into) {
  for (cleave_command command : llvm::ArrayRef(list, count)) {
    uint32_t first = buffers.size();
    for (uint32_t i = 0; i < command.num_buffers; ++i)
      buffers.push_back(moved(source.buffers[command.first_buffer + i]));
    command.first_buffer = first;
    if (command.op == CLEAVE_OP_LAUNCH)
      command.kernel = takeKernel(command.kernel);
    into.push_back(command);
  }
}

/// Its number among those that are shipped.
uint32_t Shipment::takeKernel(uint32_t kernel) {
  auto [entry, isNew] = kernelNumbers.try_emplace(kernel, details.kernels.size());
  if (!isNew)
    return entry->second;
  details.kernels.push_back(parts.kernels[kernel]);
  if (isOfCores()) {
    kernelTable.push_back(source.kernels[kernel]);
    return entry->second;
  }
  cleave_device_kernel own = source.device_kernels[kernel];
  for (cleave_image image : llvm::ArrayRef(source.images + own.first_image, own.num_images)) {
    llvm::append_range(mapTable, llvm::ArrayRef(source.maps + image.first_map, image.num_maps));
    image.first_map = mapTable.size() - image.num_maps;
    imageTable.push_back(image);
  }
  own.first_image = imageTable.size() - own.num_images;
  deviceKernels.push_back(own);
  return entry->second;
}

/// Where a buffer of the model's files lies in the artifact.
cleave_buffer Shipment::moved(const cleave_buffer &buffer) const {
  if (reference || buffer.space != CLEAVE_SPACE_FILE)
    return buffer;
  for (const Copy &copy : copies)
    if (copy.file == buffer.index && copy.begin <= buffer.offset &&
        buffer.offset + buffer.bytes <= copy.end)
      return {buffer.space, 0, sharedHeader.size() + copy.target + buffer.offset - copy.begin,
              buffer.bytes};
  llvm_unreachable("all that is read is copied");
}

/// What the commands that are shipped read of the model's files, once.
void Shipment::collectCopies() {
  std::vector<Copy> wanted;
  auto collect = [&](llvm::ArrayRef<cleave_command> list) {
    for (const cleave_command &command : list)
      for (uint32_t i = 0; i < command.num_buffers; ++i) {
        const cleave_buffer &buffer = source.buffers[command.first_buffer + i];
        if (buffer.space == CLEAVE_SPACE_FILE)
          wanted.push_back({buffer.index, buffer.offset, buffer.offset + buffer.bytes, 0});
      }
  };
  for (const cleave_rank_program &own : llvm::ArrayRef(source.programs, source.num_programs)) {
    if (loads)
      collect({own.load, own.num_load});
    collect({own.main, own.num_main});
  }
  llvm::sort(wanted, [](const Copy &a, const Copy &b) {
    return std::tuple(a.file, a.begin, b.end) < std::tuple(b.file, b.begin, a.end);
  });
  for (const Copy &copy : wanted)
    if (!copies.empty() && copies.back().file == copy.file &&
        (copy.begin < copies.back().end || copy.end <= copies.back().end))
      copies.back().end = std::max(copies.back().end, copy.end);
    else
      copies.push_back(copy);
  if (copies.empty())
    return;

  std::vector<Entry> entries;
  uint64_t bytes = 0;
  for (Copy &copy : copies) {
    copy.target = llvm::alignTo(bytes, kAlignment);
    bytes = copy.target + copy.end - copy.begin;
    Entry entry{
        "weight", "U8", {int64_t(copy.end - copy.begin)}, copy.target, copy.end - copy.begin};
    // A range that is part of a tensor, or several, has no type.
    for (const ProgramParts::Tensor &weight : parts.weights)
      if (weight.index == copy.file && weight.offset >= copy.begin && weight.offset < copy.end) {
        entry.name = weight.name;
        if (weight.type && weight.bytes == entry.bytes && weight.offset == copy.begin) {
          entry.type = tensorsType(weight.type);
          entry.dims = weight.dims;
        }
        break;
      }
    entries.push_back(std::move(entry));
  }
  sharedHeader = tensorsHeader(std::move(entries), bytes);
  sharedBytes = sharedHeader.size() + bytes;
}

std::string Shipment::rankHeader(uint32_t rank) const {
  uint32_t own = source.class_of_rank[rank];
  std::vector<Entry> entries;
  for (const ProgramParts::Tensor &param : parts.params)
    if (param.index == own)
      entries.push_back(
          {param.name, tensorsType(param.type), param.dims, param.offset, param.bytes});
  return tensorsHeader(std::move(entries), source.programs[own].param_bytes);
}

uint32_t Shipment::addFile(std::string path, uint64_t bytes,
                           std::vector<runtime::DigestBlock> blocks, bool isReference) {
  paths.push_back(std::move(path));
  files.push_back({paths.back().c_str(), bytes});
  details.files.push_back({isReference, std::move(blocks)});
  return files.size() - 1;
}

std::string Shipment::encode() {
  for (auto [own, lists] : llvm::zip_equal(programs, commands)) {
    own.load = lists.load.data();
    own.num_load = lists.load.size();
    own.main = lists.main.data();
    own.num_main = lists.main.size();
  }
  auto set = [](auto &list, auto &data, uint32_t &count) {
    data = list.data();
    count = list.size();
  };
  set(programs, program.programs, program.num_programs);
  set(buffers, program.buffers, program.num_buffers);
  if (isOfCores())
    set(kernelTable, program.kernels, program.num_kernels);
  else
    set(deviceKernels, program.device_kernels, program.num_kernels);
  set(imageTable, program.images, program.num_images);
  set(mapTable, program.maps, program.num_maps);
  set(files, program.files, program.num_files);
  program.params = loads ? nullptr : params.data();
  return runtime::encodeProgram(program, details);
}
