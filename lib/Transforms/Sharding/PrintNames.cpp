//===- PrintNames.cpp - says how dimensions are named ---------------------===//

#include "cleave/Analysis/DimNames.h"
#include "cleave/Transforms/Sharding/Passes.h"

namespace cleave {
#define GEN_PASS_DEF_PRINTNAMES
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;

namespace {

struct PrintNames : cleave::impl::PrintNamesBase<PrintNames> {
  void runOnOperation() override {
    DimNames names;
    if (failed(names.run(getOperation())))
      return signalPassFailure();
    numbers.clear();
    for (Operation &op : getOperation().getBody().front().without_terminator())
      for (Value result : op.getResults())
        op.emitRemark() << print(names, result);
  }

  std::string print(DimNames &names, Value value) {
    std::string text;
    llvm::raw_string_ostream os(text);
    auto type = cast<RankedTensorType>(value.getType());
    os << "[";
    llvm::interleaveComma(llvm::seq<int64_t>(0, type.getRank()), os, [&](int64_t dim) {
      auto factors = names.dimension(value, dim);
      if (factors.empty())
        os << type.getDimSize(dim);
      llvm::interleave(factors, os, [&](const DimName *name) { print(os, name); }, "*");
    });
    os << "]";
    return text;
  }

  void print(raw_ostream &os, const DimName *name) {
    while (name->up)
      name = name->up;
    if (name->kind == DimName::Leaf) {
      if (name->size < 2)
        os << name->size;
      else
        os << "n" << numbers.try_emplace(name, numbers.size()).first->second;
      return;
    }
    bool isConcat = name->kind == DimName::Concat;
    os << (isConcat ? "(" : "");
    llvm::interleave(
        name->kids, os, [&](const DimName *kid) { print(os, kid); }, isConcat ? " | " : "*");
    os << (isConcat ? ")" : "");
  }

  DenseMap<const DimName *, unsigned> numbers;
};

} // namespace
