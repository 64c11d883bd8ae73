//===- Search.cpp - from a graph and a mesh to the best cut ---------------===//
//
// Names the dimensions, makes axes of the mesh, and solves for all axes at
// once; where the tables grow too large for that, for one axis after the other
// until nothing changes.
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Sharding/Search.h"

#include "MeshAxes.h"
#include "cleave/Transforms/Sharding/Passes.h"

namespace cleave {
#define GEN_PASS_DEF_SEARCH
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

//===----------------------------------------------------------------------===//
// The answer
//===----------------------------------------------------------------------===//

/// One axis at a time, the others held, until nothing changes; data axes first.
/// What is `held` already stays.
static std::optional<Problem::Solution> descend(SearchProblem &search, ArrayRef<Axis> axes,
                                                Held held) {
  constexpr unsigned kRounds = 4;
  SmallVector<unsigned> parents;
  for (bool holds : {false, true})
    for (const Axis &axis : axes)
      if (axis.holdsWeights == holds && !axis.isInTime && !llvm::is_contained(parents, axis.parent))
        parents.push_back(axis.parent);
  for (Operation *op : search.ops()) {
    held[op].resize(axes.size(), std::nullopt);
    for (std::optional<int> &choice : held[op])
      choice = choice.value_or(kNothing);
  }

  std::optional<Problem::Solution> best;
  for (unsigned round = 0; round < kRounds; ++round) {
    std::optional<int64_t> before = best ? std::optional<int64_t>(best->cost) : std::nullopt;
    for (unsigned parent : parents) {
      for (auto &[op, choices] : held)
        for (auto [a, axis] : llvm::enumerate(axes))
          if (axis.parent == parent)
            choices[a] = std::nullopt;
      best = search.solve(held);
      if (!best)
        return std::nullopt;
      for (auto &[op, choices] : held)
        for (auto [a, choice] : llvm::enumerate(search.choices(op)))
          choices[a] = choice;
    }
    if (before == best->cost)
      break;
  }
  return best;
}

/// Says which axes cut nothing, and why.
static LogicalResult reportIdleAxes(func::FuncOp func, const SearchRequest &request,
                                    DimNames &names, ArrayRef<Axis> axes, SearchProblem &search) {
  for (auto [i, name] : llvm::enumerate(request.mesh.getNames())) {
    int64_t size = request.mesh.getSizes()[i];
    bool cuts = size == 1 || name == dist::kStageAxis || name == kMicroBatchAxis;
    for (auto [a, axis] : llvm::enumerate(axes))
      cuts |= axis.parent == i && search.cuts(a);
    if (cuts)
      continue;
    auto severity = request.strict ? DiagnosticSeverity::Error : DiagnosticSeverity::Warning;
    func.getContext()->getDiagEngine().emit(func.getLoc(), severity)
        << "axis \"" << name.getValue() << "\" of size " << size
        << " cuts nothing: " << whyIdle(func, request, names, name, size);
    if (request.strict)
      return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Micro-batches
//===----------------------------------------------------------------------===//

/// The name that leads the outermost dimension of every output; null where there is
/// none, or the batch has one index.
static const DimName *findBatch(func::FuncOp func, DimNames &names) {
  const DimName *batch = nullptr;
  for (Value output : func.getBody().front().getTerminator()->getOperands()) {
    if (nn::typeOf(output).getRank() == 0)
      return nullptr;
    auto factors = names.dimension(output, 0);
    if (factors.empty() || (batch && factors.front() != batch))
      return nullptr;
    batch = factors.front();
  }
  return batch;
}

/// Of what is asked for in vain: an error with `strict`.
static DiagnosticSeverity severityOf(const SearchRequest &request) {
  return request.strict ? DiagnosticSeverity::Error : DiagnosticSeverity::Warning;
}

/// Warns, or with `strict` fails, where no stages wait for micro-batches.
static LogicalResult reportNoStages(func::FuncOp func, const SearchRequest &request) {
  for (auto [name, size] : llvm::zip(request.mesh.getNames(), request.mesh.getSizes()))
    if (name == dist::kStageAxis && size > 1)
      return success();
  func.getContext()->getDiagEngine().emit(func.getLoc(), severityOf(request))
      << "micro-batches follow each other through the stages of an axis \"" << dist::kStageAxis
      << "\", and --mesh has none: they run one after another and save no time; add the axis, or "
         "leave --micro-batches out";
  return failure(request.strict);
}

/// Warns, or with `strict` fails, unless there are as many micro-batches as wanted.
static LogicalResult reportFewer(func::FuncOp func, const SearchRequest &request, int64_t found,
                                 const DimName *batch) {
  if (found == request.microBatches)
    return success();
  Diagnostic report(func.getLoc(), severityOf(request));
  report << request.microBatches << " micro-batches are asked for and " << found
         << (found == 1 ? " is" : " are") << " made: ";
  if (batch)
    report << "the batch has " << batch->size << " rows, in parts of "
           << llvm::divideCeil(batch->size, found) << "; give more with --dim";
  else
    report << "no dimension of more than one index leads every output of the model; give a larger "
              "batch with --dim";
  func.getContext()->getDiagEngine().emit(std::move(report));
  return failure(request.strict);
}

/// The request over a mesh with an axis for micro-batches, and their dimension.
static FailureOr<const DimName *> addMicroBatches(func::FuncOp func, DimNames &names,
                                                  SearchRequest &request) {
  if (request.microBatches == 1)
    return static_cast<const DimName *>(nullptr);
  if (failed(reportNoStages(func, request)))
    return failure();
  const DimName *batch = findBatch(func, names);
  int64_t size = batch ? batch->size : 1, count = std::min(size, request.microBatches);
  // Parts are as large as the first, so that fewer may hold all of the batch.
  count = llvm::divideCeil(size, llvm::divideCeil(size, count));
  if (failed(reportFewer(func, request, count, batch)))
    return failure();
  if (count == 1)
    return static_cast<const DimName *>(nullptr);
  MLIRContext *context = func.getContext();
  SmallVector<StringAttr> axes = {StringAttr::get(context, kMicroBatchAxis)};
  SmallVector<int64_t> sizes = {count};
  llvm::append_range(axes, request.mesh.getNames());
  llvm::append_range(sizes, request.mesh.getSizes());
  request.mesh = dist::MeshAttr::get(context, axes, sizes);
  return batch;
}

namespace {

/// Cuts every op that knows the batch along it, but for what somebody reads whole and
/// is cheap to make whole for each micro-batch: a mask that is looked up by row.
class BatchCuts {
public:
  BatchCuts(DimNames &names, ArrayRef<Operation *> ops, const DimName *batch)
      : names(names), batch(batch) {
    for (Operation *op : llvm::reverse(ops)) {
      choices[op] = kNothing;
      const CutFactor *factor = whole.contains(op) ? nullptr : factorOf(op);
      if (factor)
        choices[op] = factor - names.factors(op).begin();
      for (auto [number, operand] : llvm::enumerate(op->getOperands()))
        if (Operation *producer = operand.getDefiningOp(); producer && !isCut(factor, number) &&
                                                           knowsBatch(operand) &&
                                                           names.rule(producer).flops == 0)
          whole.insert(producer);
    }
  }

  Held held(ArrayRef<Axis> axes) const {
    Held out;
    for (auto [a, axis] : llvm::enumerate(axes))
      for (auto [op, choice] : choices)
        if (axis.isInTime) {
          out[op].resize(axes.size(), std::nullopt);
          out[op][a] = choice;
        }
    return out;
  }

private:
  bool isBatch(Operation *op, std::pair<unsigned, unsigned> place) {
    auto [number, cut] = place;
    unsigned operands = op->getNumOperands();
    Value value = number < operands ? op->getOperand(number) : op->getResult(number - operands);
    return names.cuts(value)[cut].name == batch;
  }

  const CutFactor *factorOf(Operation *op) {
    for (const CutFactor &factor : names.factors(op))
      if (factor.kind == nn::FactorKind::Parallel &&
          llvm::any_of(factor.places, [&](auto place) { return isBatch(op, place); }))
        return &factor;
    return nullptr;
  }

  static bool isCut(const CutFactor *factor, unsigned operand) {
    return factor &&
           llvm::any_of(factor->places, [&](auto place) { return place.first == operand; });
  }

  bool knowsBatch(Value value) {
    return llvm::any_of(names.cuts(value), [&](const Cut &cut) { return cut.name == batch; });
  }

  DimNames &names;
  const DimName *batch;
  DenseSet<Operation *> whole; ///< ops whose results are read whole
  DenseMap<Operation *, int> choices;
};

} // namespace

FailureOr<SearchReport> cleave::searchShardings(func::FuncOp func, SearchRequest request) {
  DimNames names;
  if (failed(names.run(func)))
    return failure();
  FailureOr<const DimName *> batch = addMicroBatches(func, names, request);
  if (failed(batch))
    return failure();
  SmallVector<Axis> axes = searchedAxes(names, func, request.mesh);
  if (axes.size() > kMaxAxes)
    return func.emitError("a mesh is searched over up to ")
           << kMaxAxes << " axes and sub-axes, got: " << request.mesh;

  SearchProblem search(func, names, axes, request);
  Held held = BatchCuts(names, search.ops(), *batch).held(axes);
  std::optional<Problem::Solution> solution = search.solve(held);
  if (!solution)
    solution = descend(search, axes, held);
  if (!solution)
    return func.emitError("the tables of the search grow too large over ")
           << request.mesh << "; use fewer axes";
  search.annotate(request.mesh);

  if (failed(reportIdleAxes(func, request, names, axes, search)))
    return failure();
  return SearchReport{
      solution->cost,          names.getNumNames(), static_cast<unsigned>(solution->values.size()),
      solution->computedSteps, solution->width,     solution->largestTable};
}

FailureOr<DictionaryAttr> cleave::findWeightCuts(func::FuncOp decode, SearchRequest request) {
  request.strict = false;
  ScopedDiagnosticHandler noWarnings(decode.getContext(), [](Diagnostic &diagnostic) {
    return success(diagnostic.getSeverity() == DiagnosticSeverity::Warning);
  });
  if (failed(searchShardings(decode, request)))
    return failure();
  return decode->getParentOfType<ModuleOp>()->getAttrOfType<DictionaryAttr>(kWeightShardings);
}

namespace {

struct Search : cleave::impl::SearchBase<Search> {
  using SearchBase::SearchBase;

  void runOnOperation() override {
    std::string error;
    SearchRequest request;
    request.mesh = parseMesh(&getContext(), mesh, error);
    if (!request.mesh) {
      getOperation().emitError(error);
      return signalPassFailure();
    }
    request.strict = strict;
    request.microBatches = microBatches;
    if (pinned)
      request.pins = getOperation()->getAttrOfType<DictionaryAttr>(kWeightShardings);
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (failed(searchShardings(func, request)))
        return signalPassFailure();
  }
};

} // namespace
