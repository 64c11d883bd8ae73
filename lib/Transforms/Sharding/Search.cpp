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
static std::optional<Problem::Solution> descend(SearchProblem &search, ArrayRef<Axis> axes) {
  constexpr unsigned kRounds = 4;
  SmallVector<unsigned> parents;
  for (bool holds : {false, true})
    for (const Axis &axis : axes)
      if (axis.holdsWeights == holds && !llvm::is_contained(parents, axis.parent))
        parents.push_back(axis.parent);
  Held held;
  for (Operation *op : search.ops())
    held[op].assign(axes.size(), kNothing);

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
    bool cuts = size == 1;
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

FailureOr<SearchReport> cleave::searchShardings(func::FuncOp func, const SearchRequest &request) {
  DimNames names;
  if (failed(names.run(func)))
    return failure();
  SmallVector<Axis> axes = searchedAxes(names, func, request.mesh);
  if (axes.size() > kMaxAxes)
    return func.emitError("a mesh is searched over up to ")
           << kMaxAxes << " axes and sub-axes, got: " << request.mesh;

  SearchProblem search(func, names, axes, request);
  std::optional<Problem::Solution> solution = search.solve(Held());
  if (!solution)
    solution = descend(search, axes);
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
    if (pinned)
      request.pins = getOperation()->getAttrOfType<DictionaryAttr>(kWeightShardings);
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (failed(searchShardings(func, request)))
        return signalPassFailure();
  }
};

} // namespace
