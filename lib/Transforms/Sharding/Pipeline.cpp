//===- Pipeline.cpp - stages, and micro-batches through them --------------===//
//
// Why: a model that is cut in stages needs of its links only what crosses a cut, and
// while one stage computes a micro-batch the next can compute the one before it.
//
//   @main of all ranks, once for each     @main_0 of stage 0     @main_1 of stage 1
//   micro-batch: %a = f(%x)               %a0 = f(%x[0:2])       %r0 = recv from 0
//                %b = g(%a)         =>    send %a0 to 1          %b0 = g(%r0)
//                return %b                %a1 = f(%x[2:4])       %r1 = recv from 0
//                                         wait %a0 to 1          %b1 = g(%r1)
//                                         send %a1 to 1          return %b0, %b1
//                                         wait %a1 to 1
//
// The schedule is the order of the blocks (chunk, micro-batch) of each stage. What is
// cheap to compute and follows from inputs, weights and constants alone belongs to no
// stage: each that reads it makes it itself.
//
//===----------------------------------------------------------------------===//

#include "PipelinePlan.h"
#include "Reshard.h"
#include "cleave/Support/NodeName.h"
#include "cleave/Transforms/Sharding/Passes.h"
#include "cleave/Transforms/Sharding/Search.h"

#include "mlir/IR/Dominance.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"

#include <map>
#include <numeric>

namespace cleave {
#define GEN_PASS_DEF_PIPELINE
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

//===----------------------------------------------------------------------===//
// One class of one stage
//===----------------------------------------------------------------------===//

namespace {

/// Builds what the ranks of one stage compute whose micro-batches are of given classes.
class StageBuilder {
public:
  StageBuilder(OpBuilder &builder, dist::MeshAttr mesh, ArrayRef<const ChunkedFunction *> micros)
      : builder(builder), mesh(mesh), reshard(builder, mesh, 0), micros(micros),
        values(micros.size()) {}

  FailureOr<func::FuncOp> run(StringRef name, int64_t stage, ArrayRef<Action> actions);

private:
  LogicalResult compute(int64_t chunk, int64_t micro);
  LogicalResult clone(Operation *op, int64_t micro);
  LogicalResult makeAvailable(Value value, int64_t micro);
  /// The part of `counts` that belongs to a micro-batch: begin, size and what is left.
  struct Share {
    int64_t begin, size;
    ArrayRef<int64_t> counts;
    SmallVector<StringAttr> axes;
  };
  FailureOr<Share> shareOf(Operation *op, ArrayAttr axes, ArrayRef<int64_t> counts,
                           int64_t micro) const;
  FailureOr<Value> clonePart(dist::SliceOp op, int64_t micro);
  FailureOr<Value> clonePart(dist::OffsetOp op, int64_t micro);
  LogicalResult addResults(func::FuncOp function, int64_t stage);

  ArrayAttr stageAxis() { return builder.getStrArrayAttr({dist::kStageAxis}); }

  OpBuilder &builder;
  dist::MeshAttr mesh;
  Reshard reshard;
  ArrayRef<const ChunkedFunction *> micros;
  std::vector<IRMapping> values; ///< by micro-batch
};

} // namespace

FailureOr<func::FuncOp> StageBuilder::run(StringRef name, int64_t stage, ArrayRef<Action> actions) {
  func::FuncOp source = micros.front()->function;
  auto target = func::FuncOp::create(builder, source.getLoc(), name,
                                     builder.getFunctionType(source.getArgumentTypes(), {}));
  target->setDiscardableAttrs(source->getDiscardableAttrDictionary());
  for (unsigned i = 0; i < source.getNumArguments(); ++i)
    target.setArgAttrs(i, source.getArgAttrDict(i));
  Block *entry = target.addEntryBlock();
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(entry);
  for (auto [micro, mapping] : llvm::zip(micros, values))
    mapping.map(micro->body().getArguments(), entry->getArguments());

  for (const Action &action : actions) {
    IRMapping &mapping = values[action.micro];
    switch (action.kind) {
    case Action::Compute:
      if (failed(compute(action.chunk, action.micro)))
        return failure();
      break;
    case Action::Send: {
      auto send = dist::SendOp::create(builder, action.value.getLoc(), mapping.lookup(action.value),
                                       action.peer, stageAxis());
      send->setAttr(kReason, builder.getStringAttr("stage " + Twine(action.peer) +
                                                   " reads what stage " + Twine(stage) + " makes"));
      break;
    }
    case Action::Receive:
      mapping.map(action.value,
                  dist::RecvOp::create(builder, action.value.getLoc(), action.value.getType(),
                                       action.peer, stageAxis())
                      .getResult());
      break;
    case Action::Wait:
      dist::WaitOp::create(builder, action.value.getLoc(), mapping.lookup(action.value),
                           action.peer, stageAxis());
    }
  }
  if (failed(addResults(target, stage)))
    return failure();
  return target;
}

LogicalResult StageBuilder::compute(int64_t chunk, int64_t micro) {
  for (Operation *op : micros[micro]->chunks[chunk])
    if (failed(clone(op, micro)))
      return failure();
  return success();
}

/// Makes here what belongs to no stage.
LogicalResult StageBuilder::makeAvailable(Value value, int64_t micro) {
  if (values[micro].contains(value))
    return success();
  Operation *producer = value.getDefiningOp();
  if (micros[micro]->chunkOf.contains(producer) && !isFreeView(producer))
    return producer->emitOpError("is read before it is made or received");
  return clone(producer, micro);
}

/// Where rows of a batch meet that are to be exchanged: in what sums along them, which
/// is what `collective` is of, or else in the first that reads them.
static Location whereRowsMeet(Operation *collective) {
  if (isa<dist::AllReduceOp, dist::ReduceScatterOp>(collective))
    return collective->getLoc();
  Operation *reader = collective;
  while (isa<dist::DistDialect>(reader->getDialect()) && !reader->use_empty())
    reader = *llvm::min_element(reader->getUsers(),
                                [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  return nodeName(reader->getLoc()).empty() ? collective->getLoc() : reader->getLoc();
}

LogicalResult StageBuilder::clone(Operation *op, int64_t micro) {
  for (Value operand : op->getOperands())
    if (failed(makeAvailable(operand, micro)))
      return failure();
  FailureOr<Value> part = Value();
  if (auto slice = dyn_cast<dist::SliceOp>(op))
    part = clonePart(slice, micro);
  else if (auto offset = dyn_cast<dist::OffsetOp>(op))
    part = clonePart(offset, micro);
  else if (auto collective = dyn_cast<dist::CollectiveOpInterface>(op);
           collective &&
           llvm::is_contained(collective.getGroupAxes(), builder.getStringAttr(kMicroBatchAxis)))
    return emitError(whereRowsMeet(op))
           << "micro-batches would have to exchange rows here, since the model mixes them; leave "
              "--micro-batches out";
  if (failed(part))
    return failure();
  if (*part) {
    values[micro].map(op->getResult(0), *part);
    return success();
  }
  Operation *copy = builder.clone(*op, values[micro]);
  copy->removeAttr(kMadeFor);
  return success();
}

FailureOr<StageBuilder::Share> StageBuilder::shareOf(Operation *op, ArrayAttr axes,
                                                     ArrayRef<int64_t> counts,
                                                     int64_t micro) const {
  SmallVector<StringAttr> list = dist::axisList(axes);
  auto *found = llvm::find(list, StringAttr::get(axes.getContext(), kMicroBatchAxis));
  if (found == list.end())
    return Share{0, 0, counts, {}};
  if (found != list.begin())
    return op->emitOpError("cuts the batch over ranks first and micro-batches second");
  int64_t inner = counts.size() / micros.size();
  auto sum = [](ArrayRef<int64_t> part) {
    return std::accumulate(part.begin(), part.end(), int64_t(0));
  };
  ArrayRef<int64_t> own = counts.slice(micro * inner, inner);
  return Share{sum(counts.take_front(micro * inner)), sum(own), own,
               SmallVector<StringAttr>(list.begin() + 1, list.end())};
}

/// A slice over micro-batches is known here; what is left of it is a slice over ranks.
FailureOr<Value> StageBuilder::clonePart(dist::SliceOp op, int64_t micro) {
  FailureOr<Share> share = shareOf(op, op.getAxes(), op.getCounts(), micro);
  if (failed(share) || share->counts.size() == op.getCounts().size())
    return failed(share) ? FailureOr<Value>() : Value();
  Value input = reshard.slice(values[micro].lookup(op.getInput()), op.getDim(), share->begin,
                              share->size, op.getLoc());
  if (share->axes.empty())
    return input;
  return dist::SliceOp::create(builder, op.getLoc(), op.getType(), input, op.getDim(),
                               reshard.axesAttr(share->axes), share->counts)
      .getResult();
}

FailureOr<Value> StageBuilder::clonePart(dist::OffsetOp op, int64_t micro) {
  FailureOr<Share> share = shareOf(op, op.getAxes(), op.getCounts(), micro);
  if (failed(share) || share->counts.size() == op.getCounts().size())
    return failed(share) ? FailureOr<Value>() : Value();
  auto type = cast<RankedTensorType>(op.getType());
  Value begin = nn::ConstantOp::create(builder, op.getLoc(), type,
                                       DenseElementsAttr::get(type, share->begin));
  if (share->axes.empty())
    return begin;
  Value rest = dist::OffsetOp::create(builder, op.getLoc(), type, reshard.axesAttr(share->axes),
                                      share->counts);
  return nn::AddOp::create(builder, op.getLoc(), type, begin, rest).getResult();
}

/// What the stage makes of the outputs: a part a micro-batch, or, of what is no part of
/// the batch, one.
LogicalResult StageBuilder::addResults(func::FuncOp function, int64_t stage) {
  SmallVector<Value> results;
  SmallVector<NamedAttrList> attributes;
  DenseMap<int64_t, int64_t> rows; ///< of each output, up to here
  for (auto [micro, number] : llvm::zip(micros, llvm::seq<int64_t>(micros.size()))) {
    func::FuncOp source = micro->function;
    Operation *end = micro->body().getTerminator();
    for (auto [i, value] : llvm::enumerate(end->getOperands())) {
      auto part = source.getResultAttrOfType<dist::PartAttr>(i, dist::kPart);
      bool isWhole = value.getType() == part.getWhole();
      if (micro->stageOf(value) != stage || (isWhole && number > 0))
        continue;
      int64_t begin = rows[i];
      if (!isWhole)
        rows[i] += nn::typeOf(value).getDimSize(0);
      if (failed(makeAvailable(value, number)))
        return failure();
      results.push_back(values[number].lookup(value));
      attributes.emplace_back(source.getResultAttrDict(i));
      attributes.back().set(dist::kPart,
                            dist::PartAttr::get(part.getContext(), i, begin, part.getWhole()));
    }
  }
  func::ReturnOp::create(builder, function.getLoc(), results);
  function.setFunctionType(
      builder.getFunctionType(function.getArgumentTypes(), TypeRange(results)));
  for (auto [i, list] : llvm::enumerate(attributes))
    function.setResultAttrs(i, list);
  return success();
}

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

/// The mesh without the axis of micro-batches, and how many there are.
static std::pair<dist::MeshAttr, int64_t> withoutMicroBatches(dist::MeshAttr mesh) {
  if (mesh.getNames().empty() || mesh.getNames().front() != kMicroBatchAxis)
    return {mesh, 1};
  return {dist::MeshAttr::get(mesh.getContext(), mesh.getNames().drop_front(),
                              mesh.getSizes().drop_front()),
          mesh.getSizes().front()};
}

static int64_t sizeOf(dist::MeshAttr mesh, StringRef axis) {
  for (auto [name, size] : llvm::zip(mesh.getNames(), mesh.getSizes()))
    if (name == axis)
      return size;
  return 1;
}

namespace {

struct Pipeline : cleave::impl::PipelineBase<Pipeline> {
  using PipelineBase::PipelineBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto whole = module->getAttrOfType<dist::MeshAttr>(dist::kMesh);
    auto classes = module->getAttrOfType<DenseI64ArrayAttr>(dist::kClasses);
    if (!whole || !classes) {
      module.emitError("has no mesh or no classes; run --shard-localize first");
      return signalPassFailure();
    }
    auto [mesh, numMicros] = withoutMicroBatches(whole);
    int64_t stages = sizeOf(mesh, dist::kStageAxis);
    if (virtualStages < 1 || (virtualStages > 1 && stages == 1)) {
      module.emitError(
          "virtual stages are chunks for each of several ranks of an axis \"pp\", got: ")
          << static_cast<int64_t>(virtualStages) << " for a mesh of " << stages
          << (stages == 1 ? " stage" : " stages");
      return signalPassFailure();
    }
    if (!isPipelined(whole))
      return;
    PipelinePlan plan(mesh, Machine::cpu(), stages, virtualStages);
    SmallVector<func::FuncOp> functions = classFunctions(module);
    if (failed(plan.cut(functions, numMicros, classes.asArrayRef(), strict)))
      return signalPassFailure();
    if (failed(build(plan, mesh, numMicros, classes.asArrayRef())))
      return signalPassFailure();
    for (func::FuncOp function : functions)
      function.erase();
  }

private:
  /// A function for each set of ranks of one stage whose micro-batches are of the same
  /// classes, and the class of each rank.
  LogicalResult build(PipelinePlan &plan, dist::MeshAttr mesh, int64_t numMicros,
                      ArrayRef<int64_t> classes) {
    ModuleOp module = getOperation();
    OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
    SmallVector<StringAttr> stageAxis = {builder.getStringAttr(dist::kStageAxis)};
    int64_t ranks = mesh.getNumRanks();
    std::map<std::vector<int64_t>, int64_t> known;
    std::map<std::vector<const ChunkedFunction *>, PipelinePlan::ActionLists> actions;
    SmallVector<int64_t> newClasses, stageOfClass;
    SmallVector<func::FuncOp> built;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      int64_t stage = plan.numStages() == 1 ? 0 : mesh.getMember(stageAxis, rank);
      std::vector<int64_t> key = {stage};
      std::vector<const ChunkedFunction *> micros;
      for (int64_t micro = 0; micro < numMicros; ++micro) {
        key.push_back(classes[micro * ranks + rank]);
        micros.push_back(&plan.function(key.back()));
      }
      auto [entry, isNew] = known.try_emplace(key, built.size());
      newClasses.push_back(entry->second);
      if (!isNew)
        continue;
      auto [lists, isUnknown] = actions.try_emplace(micros);
      if (isUnknown)
        lists->second = plan.actions(micros);
      // The names of the functions that they replace are still taken.
      FailureOr<func::FuncOp> function =
          StageBuilder(builder, mesh, micros)
              .run(("stage_" + Twine(built.size())).str(), stage, lists->second[stage]);
      if (failed(function))
        return failure();
      // Micro-batches share weights and what follows from them.
      DominanceInfo dominance;
      IRRewriter rewriter(module.getContext());
      eliminateCommonSubExpressions(rewriter, dominance, *function);
      built.push_back(*function);
      stageOfClass.push_back(stage);
    }
    for (func::FuncOp old : classFunctions(module))
      old.setName(("localized_" + old.getName()).str());
    for (auto [i, function] : llvm::enumerate(built))
      function.setName(built.size() == 1 ? "main" : "main_" + std::to_string(i));
    module->setAttr(dist::kMesh, mesh);
    module->setAttr(dist::kClasses, builder.getDenseI64ArrayAttr(newClasses));
    module->setAttr(dist::kStages, builder.getDenseI64ArrayAttr(stageOfClass));
    module->setAttr(dist::kSchedule, plan.scheduleAttr(builder));
    return success();
  }
};

} // namespace
