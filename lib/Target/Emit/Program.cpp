//===- Program.cpp - rt functions as the runtime's structs ----------------===//

#include "Program.h"

#include "cleave/Support/ElementType.h"
#include "cleave/Support/NodeName.h"

#include "Nn/Nn.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::emit;

const char *ProgramBuilder::keep(std::string text) {
  strings.push_back(std::move(text));
  return strings.back().c_str();
}

uint32_t ProgramBuilder::kernel(StringRef name) {
  auto [entry, isNew] = kernelNumbers.try_emplace(name, madeOf.kernels.size());
  if (isNew)
    madeOf.kernels.push_back(name.str());
  return entry->second;
}

uint32_t ProgramBuilder::file(StringRef path, uint64_t bytes) {
  auto [entry, isNew] = fileNumbers.try_emplace(path, files.size());
  if (isNew)
    files.push_back({keep(path.str()), 0});
  files[entry->second].bytes = std::max(files[entry->second].bytes, bytes);
  return entry->second;
}

uint32_t ProgramBuilder::group(ArrayAttr axes) {
  std::vector<uint32_t> list;
  uint32_t size = 0;
  for (auto &set : mesh.getGroups(dist::axisList(axes))) {
    size = set.size();
    list.insert(list.end(), set.begin(), set.end());
  }
  auto key = list;
  key.push_back(size);
  auto [entry, isNew] = groupNumbers.try_emplace(key, groups.size());
  if (isNew) {
    members.push_back(std::move(list));
    groups.push_back({members.back().data(), size});
  }
  return entry->second;
}

rt::PlaceAttr ProgramBuilder::placeOf(Value value) {
  if (auto [storage, offset] = nn::storageOf(value); storage != value) {
    rt::PlaceAttr whole = placeOf(storage);
    return rt::PlaceAttr::get(module.getContext(), whole.getSpace(), whole.getIndex(),
                              whole.getOffset() + offset, nn::bytesOf(value));
  }
  if (auto weight = value.getDefiningOp<nn::WeightOp>()) {
    uint64_t offset = weight.getOffset(), bytes = weight.getLength();
    uint32_t index = file(weight.getFile(), offset + bytes);
    auto place = rt::PlaceAttr::get(module.getContext(), rt::Space::File, index, offset, bytes);
    if (seenWeights.insert(place).second)
      addPart(madeOf.weights, weight, weight.getName(), index, place);
    return place;
  }
  if (isa<BlockArgument>(value))
    return argumentPlaces.lookup(value);
  auto places = value.getDefiningOp()->getAttrOfType<ArrayAttr>(rt::kPlaces);
  return cast<rt::PlaceAttr>(places[cast<OpResult>(value).getResultNumber()]);
}

void ProgramBuilder::addPart(std::vector<ProgramParts::Tensor> &parts, Value value, StringRef name,
                             uint32_t index, rt::PlaceAttr place) {
  auto type = cast<RankedTensorType>(value.getType());
  parts.push_back({index,
                   static_cast<uint64_t>(place.getOffset()),
                   static_cast<uint64_t>(place.getBytes()),
                   name.str(),
                   runtimeType(type.getElementType()),
                   {type.getShape().begin(), type.getShape().end()}});
}

void ProgramBuilder::addBuffer(rt::PlaceAttr place) {
  buffers.push_back(
      {static_cast<uint8_t>(place.getSpace()), static_cast<uint32_t>(place.getIndex()),
       static_cast<uint64_t>(place.getOffset()), static_cast<uint64_t>(place.getBytes())});
}

void ProgramBuilder::addBuffer(Value value) { addBuffer(placeOf(value)); }

/// Collectives take the dimension they act on outermost.
LogicalResult ProgramBuilder::addCounts(Operation *op, ArrayRef<int64_t> sizes, int64_t dim,
                                        Value whole) {
  auto type = cast<RankedTensorType>(whole.getType());
  uint64_t inner = 1;
  for (auto [i, size] : llvm::enumerate(type.getShape())) {
    if (static_cast<int64_t>(i) < dim && size != 1)
      return op->emitError("acts on a dimension that is not outermost, got: ") << dim;
    inner *= static_cast<int64_t>(i) > dim ? size : 1;
  }
  for (int64_t size : sizes)
    counts.push_back(size * inner);
  return success();
}

/// `peer` is the member of this rank's group.
void ProgramBuilder::addTransfer(cleave_command &command, cleave_op op, ArrayAttr axes,
                                 uint64_t peer, Type type) {
  command.op = op;
  command.group = group(axes);
  command.peer = peer;
  if (op == CLEAVE_OP_WAIT)
    return;
  auto tensor = cast<RankedTensorType>(type);
  command.type = *runtimeType(tensor.getElementType());
  counts.push_back(tensor.getNumElements());
}

LogicalResult ProgramBuilder::addCollective(Operation *op, cleave_command &command) {
  if (auto send = dyn_cast<dist::SendOp>(op)) {
    addTransfer(command, CLEAVE_OP_SEND, send.getAxes(), send.getPeer(), send.getInput().getType());
    return success();
  }
  if (auto recv = dyn_cast<dist::RecvOp>(op)) {
    addTransfer(command, CLEAVE_OP_RECV, recv.getAxes(), recv.getPeer(), recv.getType());
    return success();
  }
  if (auto wait = dyn_cast<dist::WaitOp>(op)) {
    addTransfer(command, CLEAVE_OP_WAIT, wait.getAxes(), wait.getPeer(), {});
    return success();
  }
  auto type = cast<RankedTensorType>(op->getOperand(0).getType());
  command.type = *runtimeType(type.getElementType());
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](dist::AllReduceOp reduce) {
        command.op = CLEAVE_OP_ALL_REDUCE;
        command.reduction = static_cast<uint8_t>(reduce.getKind());
        command.group = group(reduce.getAxes());
        counts.push_back(type.getNumElements());
        return success();
      })
      .Case([&](dist::AllGatherOp gather) {
        command.op = CLEAVE_OP_ALL_GATHER;
        command.group = group(gather.getAxes());
        return addCounts(op, gather.getCounts(), gather.getDim(), gather.getResult());
      })
      .Case([&](dist::ReduceScatterOp scatter) {
        command.op = CLEAVE_OP_REDUCE_SCATTER;
        command.reduction = static_cast<uint8_t>(scatter.getKind());
        command.group = group(scatter.getAxes());
        return addCounts(op, scatter.getCounts(), scatter.getDim(), scatter.getInput());
      })
      .Case([&](dist::ExchangeOp exchange) {
        command.op = CLEAVE_OP_ALL_TO_ALL;
        command.group = group(exchange.getAxes());
        llvm::append_range(counts, exchange.getCounts());
        return success();
      })
      .Default([&](Operation *other) {
        return other->emitError("the runtime has no command for this op");
      });
}

LogicalResult ProgramBuilder::addCommands(func::FuncOp function, ArrayAttr paramPlaces,
                                          std::vector<cleave_command> &list) {
  if (auto counters = function->getAttrOfType<rt::PlaceAttr>(rt::kCounters)) {
    cleave_command clear = {};
    clear.op = CLEAVE_OP_FILL;
    clear.first_buffer = buffers.size();
    clear.first_count = counts.size();
    clear.num_buffers = 1;
    clear.name = "counters";
    addBuffer(counters);
    list.push_back(clear);
  }
  for (Operation &op : function.getBody().front().without_terminator()) {
    if (nn::viewOffset(&op) || isa<nn::WeightOp>(op))
      continue;
    cleave_command command = {};
    command.first_buffer = buffers.size();
    command.first_count = counts.size();
    StringRef name = nodeName(op.getLoc());
    // A wait names what was sent only so that it stays in place.
    if (!isa<dist::WaitOp>(op))
      for (Value operand : op.getOperands())
        addBuffer(operand);
    for (Value result : op.getResults())
      addBuffer(result);
    if (auto launch = dyn_cast<rt::LaunchOp>(op)) {
      command.op = CLEAVE_OP_LAUNCH;
      command.kernel = kernel(launch.getKernel());
      command.num_outputs = op.getNumResults();
      for (StringRef more : {StringRef(rt::kScratch), StringRef(rt::kCounters)})
        if (auto where = op.getAttrOfType<rt::PlaceAttr>(more)) {
          addBuffer(where);
          ++command.num_outputs;
        }
      if (name.empty())
        name = launch.getKernel();
    } else if (isa<rt::CopyOp>(op)) {
      command.op = CLEAVE_OP_COPY;
    } else if (failed(addCollective(&op, command))) {
      return failure();
    }
    command.name = keep((name.empty() ? op.getName().getStringRef() : name).str());
    command.num_buffers = buffers.size() - command.first_buffer;
    command.num_counts = counts.size() - command.first_count;
    list.push_back(command);
  }
  return success();
}

LogicalResult ProgramBuilder::addClass(func::FuncOp main) {
  auto load = module.lookupSymbol<func::FuncOp>(
      main->getAttrOfType<FlatSymbolRefAttr>(rt::kLoad).getValue());
  auto number = [](func::FuncOp function, StringRef name) {
    auto attr = function->getAttrOfType<IntegerAttr>(name);
    return attr ? static_cast<uint64_t>(attr.getInt()) : 0;
  };
  Operation *end = load.getBody().front().getTerminator();
  unsigned inputCount = main.getNumArguments() - end->getNumOperands();
  argumentPlaces.clear();
  for (BlockArgument argument : main.getArguments()) {
    unsigned i = argument.getArgNumber();
    argumentPlaces[argument] = i >= inputCount
                                   ? placeOf(end->getOperand(i - inputCount))
                                   : rt::PlaceAttr::get(module.getContext(), rt::Space::Input, i, 0,
                                                        nn::bytesOf(argument));
  }
  for (Value param : end->getOperands())
    addPart(madeOf.params, param, nodeName(param.getLoc()), programs.size(), placeOf(param));
  Commands &list = commands.emplace_back();
  if (failed(addCommands(load, {}, list.load)) || failed(addCommands(main, {}, list.main)))
    return failure();
  programs.push_back({nullptr, static_cast<uint32_t>(list.load.size()), nullptr,
                      static_cast<uint32_t>(list.main.size()), number(load, rt::kParams),
                      std::max(number(load, rt::kArena), number(main, rt::kArena))});
  return addValues(main, /*isFirst=*/programs.size() == 1);
}

/// The inputs, which all classes have, and the outputs of this class.
LogicalResult ProgramBuilder::addValues(func::FuncOp main, bool isFirst) {
  uint32_t rank = llvm::find(classOfRank, programs.size() - 1) - classOfRank.begin();
  auto add = [&](cleave_value &value, Type type, Attribute name,
                 const Twine &fallback) -> LogicalResult {
    auto tensor = cast<RankedTensorType>(type);
    std::optional<uint8_t> code = runtimeType(tensor.getElementType());
    if (!code)
      return main.emitError("an input or output has no type that the runtime knows, got: ") << type;
    dims.push_back({tensor.getShape().begin(), tensor.getShape().end()});
    auto text = dyn_cast_or_null<StringAttr>(name);
    value = {keep(text ? text.str() : fallback.str()), *code,
             static_cast<uint32_t>(dims.back().size()), dims.back().data(), 0};
    return success();
  };
  for (auto [i, type] : llvm::enumerate(main.getArgumentTypes()))
    if (isFirst && !main.getArgAttr(i, rt::kParam) &&
        failed(
            add(inputs.emplace_back(), type, main.getArgAttr(i, "onnx.name"), "input_" + Twine(i))))
      return failure();
  for (auto [i, type] : llvm::enumerate(main.getResultTypes())) {
    auto part = main.getResultAttrOfType<dist::PartAttr>(i, dist::kPart);
    size_t number = part ? part.getOutput() : i;
    outputs.resize(std::max(outputs.size(), number + 1));
    cleave_value &output = outputs[number];
    if (output.name && output.rank <= rank)
      continue;
    if (failed(add(output, part ? Type(part.getWhole()) : type, main.getResultAttr(i, "onnx.name"),
                   "output_" + Twine(number))))
      return failure();
    output.rank = rank;
  }
  return success();
}

LogicalResult ProgramBuilder::addRanks() {
  mesh = module->getAttrOfType<dist::MeshAttr>(dist::kMesh);
  int64_t ranks = mesh ? mesh.getNumRanks() : 1;
  auto classes = module->getAttrOfType<DenseI64ArrayAttr>(dist::kClasses);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    classOfRank.push_back(classes ? classes[rank] : 0);
    if (mesh)
      llvm::append_range(coordinates, mesh.getCoordinates(rank));
  }
  program.num_ranks = ranks;
  program.num_axes = mesh ? mesh.getSizes().size() : 0;
  return success();
}

LogicalResult ProgramBuilder::build() {
  if (failed(addRanks()))
    return failure();
  for (auto main : module.getOps<func::FuncOp>())
    if (main->hasAttr(rt::kLoad) && failed(addClass(main)))
      return failure();
  return success();
}

const cleave_program *ProgramBuilder::finish(std::vector<cleave_kernel> kernels) {
  kernelTable = std::move(kernels);
  program.kernels = kernelTable.data();
  program.num_kernels = kernelTable.size();
  return finish();
}

const cleave_program *ProgramBuilder::finish(cleave_device device,
                                             std::vector<cleave_device_kernel> kernels,
                                             std::vector<cleave_image> list,
                                             std::vector<cleave_map> mapList,
                                             uint32_t cudaVersion) {
  deviceKernels = std::move(kernels);
  images = std::move(list);
  maps = std::move(mapList);
  for (cleave_device_kernel &kernel : deviceKernels)
    kernel.name = keep(kernel.name);
  program.device = device;
  program.cuda_version = cudaVersion;
  program.device_kernels = deviceKernels.data();
  program.num_kernels = deviceKernels.size();
  program.images = images.data();
  program.num_images = images.size();
  program.maps = maps.data();
  program.num_maps = maps.size();
  return finish();
}

const cleave_program *ProgramBuilder::finish() {
  for (auto [ranks, list] : llvm::zip_equal(programs, commands)) {
    ranks.load = list.load.data();
    ranks.main = list.main.data();
  }
  auto set = [](auto &list, auto &data, uint32_t &count) {
    data = list.data();
    count = list.size();
  };
  program.version = CLEAVE_PROGRAM_VERSION;
  program.coordinates = coordinates.data();
  program.class_of_rank = classOfRank.data();
  set(programs, program.programs, program.num_programs);
  set(groups, program.groups, program.num_groups);
  set(buffers, program.buffers, program.num_buffers);
  set(counts, program.counts, program.num_counts);
  set(files, program.files, program.num_files);
  set(inputs, program.inputs, program.num_inputs);
  set(outputs, program.outputs, program.num_outputs);
  return &program;
}
