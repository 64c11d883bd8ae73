//===- Grouping.cpp - which ops make one kernel ---------------------------===//
//
// Four sweeps. Roots open groups. Elementwise ops follow a root as long as
// they have as many elements as its result. What is left joins, from the end
// backwards, the one group that uses it, or opens a group of its own. Views of
// what other groups and commands store leave again.
//
//===----------------------------------------------------------------------===//

#include "Grouping.h"

#include "Dist/Dist.h"
#include "Nn/Nn.h"
#include "Rt/Rt.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace cleave::kernel;
namespace dist = cleave::dist;
namespace nn = cleave::nn;
namespace rt = cleave::rt;

/// Ops beyond which a kernel is not grown: registers and compile time.
static constexpr size_t kMaxOps = 48;

RootKind cleave::kernel::rootKind(Operation *op) {
  if (isa<nn::MatmulOp>(op))
    return RootKind::Contraction;
  if (isa<nn::AttentionOp>(op))
    return RootKind::Attention;
  if (isa<nn::ConvOp>(op))
    return RootKind::Window;
  if (isa<nn::ScatterNdOp, nn::CacheUpdateOp>(op))
    return RootKind::Scatter;
  if (isa<nn::SoftmaxOp, nn::LayerNormOp, nn::RmsNormOp, nn::ReduceOp, nn::ArgReduceOp, nn::TopKOp,
          nn::CumSumOp>(op))
    return RootKind::Row;
  return RootKind::Elementwise;
}

bool cleave::kernel::isPullable(Operation *op) {
  if (isa<nn::ElementwiseOpInterface>(op))
    return true;
  return isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp, nn::SliceOp, nn::ConcatOp, nn::PadOp,
             nn::GatherOp, nn::GatherElementsOp, nn::GatherNdOp, nn::RopeOp, dist::SliceOp,
             dist::OffsetOp>(op);
}

/// Pure movement with one operand: reading through it costs an address. A broadcast to the
/// same shape is there to be stored.
static bool isView(Operation *op) {
  if (isa<nn::BroadcastOp>(op))
    return op->getOperand(0).getType() != op->getResult(0).getType();
  return isa<nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, dist::SliceOp>(op);
}

/// A few instructions, so that computing it twice is cheaper than storing it.
static bool isCheap(Operation *op) {
  return isView(op) ||
         isa<nn::AddOp, nn::SubOp, nn::MulOp, nn::NegOp, nn::AbsOp, nn::MaxOp, nn::MinOp, nn::AndOp,
             nn::OrOp, nn::XorOp, nn::NotOp, nn::CompareOp, nn::SelectOp, nn::CastOp>(op);
}

static int64_t elements(Value value) {
  return cast<RankedTensorType>(value.getType()).getNumElements();
}

static bool hasGroup(Operation *op) {
  return op->getName().getDialectNamespace() == "nn" ? !isa<nn::ConstantOp, nn::WeightOp>(op)
                                                     : isPullable(op);
}

Group *Grouping::create(Operation *root, RootKind kind) {
  groups.push_back(std::make_unique<Group>(Group{kind, root, {}}));
  add(groups.back().get(), root);
  return groups.back().get();
}

void Grouping::add(Group *group, Operation *op) {
  group->ops.push_back(op);
  groupOf[op] = group;
  int64_t from = position.lookup(op), to = from;
  for (Operation *member : group->ops) {
    from = std::min(from, position.lookup(member));
    to = std::max(to, position.lookup(member));
  }
  for (int64_t i = from; i < static_cast<int64_t>(latest.size()) && latest[i] < to; ++i)
    latest[i] = to;
}

int64_t Grouping::reach(int64_t at) const {
  while (latest[at] > at)
    at = latest[at];
  return at;
}

bool Grouping::makesCycle(Group &group, Operation *op) const {
  auto isInside = [&](Operation *o) { return o == op || of(o) == &group; };
  // Nothing in front of the first op inside can depend on it.
  int64_t first = position.lookup(op);
  for (Operation *member : group.ops)
    first = std::min(first, position.lookup(member));

  SmallPtrSet<Operation *, 32> seen;
  SmallVector<Operation *> open;
  auto visitOperands = [&](Operation *user) {
    auto visit = [&](Operation *producer) {
      if (producer && !isInside(producer) && seen.insert(producer).second)
        open.push_back(producer);
    };
    for (Value operand : user->getOperands())
      visit(operand.getDefiningOp());
    visit(before.lookup(user));
  };
  for (Operation *member : group.ops)
    visitOperands(member);
  visitOperands(op);

  while (!open.empty()) {
    Operation *current = open.pop_back_val();
    // A whole group runs where its last op stands.
    ArrayRef<Operation *> unit(current);
    if (Group *other = of(current))
      unit = other->ops;
    for (Operation *member : unit) {
      if (reach(position.lookup(member)) < first)
        continue;
      for (Value operand : member->getOperands())
        if (Operation *producer = operand.getDefiningOp(); producer && isInside(producer))
          return true;
      visitOperands(member);
    }
  }
  return false;
}

void Grouping::follow(Group &group) {
  if (group.kind == RootKind::Attention || group.kind == RootKind::Scatter ||
      isa<nn::TopKOp, nn::ArgReduceOp, nn::CumSumOp>(group.root))
    return;
  int64_t size = elements(group.root->getResult(0));
  SmallVector<Operation *> candidates(group.root->getUsers());
  auto later = [&](Operation *a, Operation *b) { return position.lookup(a) > position.lookup(b); };
  while (!candidates.empty() && group.ops.size() < kMaxOps) {
    llvm::sort(candidates, later);
    candidates.erase(llvm::unique(candidates), candidates.end());
    Operation *user = candidates.pop_back_val();
    bool fits = !of(user) && user->getBlock() == &block &&
                (isa<nn::ElementwiseOpInterface>(user) || isa<nn::ReshapeOp>(user)) &&
                elements(user->getResult(0)) == size;
    if (!fits || makesCycle(group, user))
      continue;
    // A view at the end gains nothing inside.
    if (isa<nn::ReshapeOp>(user) && llvm::none_of(user->getUsers(), [&](Operation *next) {
          return isa<nn::ElementwiseOpInterface>(next);
        }))
      continue;
    add(&group, user);
    candidates.append(user->user_begin(), user->user_end());
  }
}

double Grouping::evaluations(Group &group, Operation *op) const {
  double count = 0;
  for (OpOperand &use : op->getUses()) {
    Operation *user = use.getOwner();
    if (of(user) != &group)
      continue;
    double mine = elements(use.get());
    if (user == group.root && group.kind != RootKind::Elementwise) {
      count += mine;
    } else if (isa<nn::ConcatOp, nn::PadOp>(user)) {
      count += mine;
    } else if (auto rope = dyn_cast<nn::RopeOp>(user); rope && use.get() == rope.getInput()) {
      count += 2 * mine;
    } else {
      count += elements(user->getResult(0));
    }
  }
  return count / std::max<int64_t>(elements(op->getResult(0)), 1);
}

bool Grouping::accepts(Group &group, Operation *op) const {
  if (group.ops.size() >= kMaxOps)
    return false;
  double repeats = evaluations(group, op);
  bool isWidening = widening.contains(op);
  bool affordable = repeats <= 1.5 || isView(op) || isWidening || (isCheap(op) && repeats <= 8);
  if (!affordable)
    return false;
  bool feedsRoot = llvm::is_contained(op->getUsers(), group.root);
  switch (group.kind) {
  case RootKind::Elementwise: return true;
  case RootKind::Row:
    // Rows are read once; scales are read once a row.
    return !feedsRoot || isView(op) || group.root->getOperand(0) == op->getResult(0);
  case RootKind::Contraction: return isView(op) || isWidening || (!feedsRoot && repeats <= 1.5);
  case RootKind::Attention: {
    auto attention = cast<nn::AttentionOp>(group.root);
    bool feedsMask = llvm::any_of(op->getUses(), [&](OpOperand &use) {
      return use.getOwner() == attention &&
             (use.get() == attention.getMask() || use.get() == attention.getLengths());
    });
    return !feedsMask || isView(op);
  }
  case RootKind::Window: return isView(op) || isWidening;
  case RootKind::Scatter: return isView(op);
  }
  return false;
}

void Grouping::lead(Operation *op) {
  SmallPtrSet<Group *, 4> users;
  bool leaves = false;
  for (Operation *user : op->getUsers()) {
    Group *group = of(user);
    if (group)
      users.insert(group);
    else
      leaves = true;
  }
  if (op->use_empty())
    return;

  if (users.size() == 1 && !leaves) {
    Group &group = **users.begin();
    if (accepts(group, op) && !makesCycle(group, op))
      return add(&group, op);
  }
  // A row reduction reads the sum that the residual path reads too: it stores it.
  if (!isView(op))
    for (Group *group : users)
      if (group->kind == RootKind::Row && group->root->getOperand(0) == op->getResult(0) &&
          isa<nn::LayerNormOp, nn::RmsNormOp>(group->root) && accepts(*group, op) &&
          !makesCycle(*group, op))
        return add(group, op);
  // A view between kernels moves nothing.
  if (isa<nn::ReshapeOp>(op))
    return;
  create(op, RootKind::Elementwise);
}

/// Else equal kernels could differ in which of two equal constants they use.
static void mergeConstants(Block &block) {
  DenseMap<Attribute, nn::ConstantOp> known;
  for (auto constant : llvm::make_early_inc_range(block.getOps<nn::ConstantOp>())) {
    auto [entry, isNew] = known.try_emplace(constant.getValue(), constant);
    if (isNew)
      continue;
    constant.replaceAllUsesWith(entry->second.getResult());
    constant.erase();
  }
}

void Grouping::findWidening() {
  auto main = cast<func::FuncOp>(block.getParentOp());
  if (!main->hasAttr(rt::kLoad))
    return;
  auto isLoaded = [&](Value value) {
    if (auto argument = dyn_cast<BlockArgument>(value))
      return main.getArgAttr(argument.getArgNumber(), rt::kParam) != nullptr;
    Operation *op = value.getDefiningOp();
    return isa<nn::WeightOp, nn::ConstantOp>(op) || widening.contains(op);
  };
  for (Operation &op : block)
    if (op.getNumOperands() > 0 && (isCheap(&op) || isa<nn::DivOp, nn::RemOp>(op)) &&
        llvm::all_of(op.getOperands(), isLoaded))
      widening.insert(&op);
}

/// Each kernel that reads through a view, or weights that become larger, gets one of its own.
void Grouping::duplicateViews() {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block))) {
    if (!isView(&op) && !widening.contains(&op))
      continue;
    bool first = true;
    for (OpOperand &use : llvm::make_early_inc_range(op.getUses())) {
      if (!hasGroup(use.getOwner()) || std::exchange(first, false))
        continue;
      OpBuilder builder(&op);
      Operation *clone = builder.clone(op);
      use.set(clone->getResult(0));
      if (widening.contains(&op))
        widening.insert(clone);
    }
  }
}

/// Neighbours in what is stored anyway are a place, not code: else each place would have
/// a kernel of its own.
void Grouping::releaseViews(int64_t alignment) {
  for (Operation &op : block) {
    Group *group = of(&op);
    std::optional<int64_t> offset = nn::viewOffset(&op);
    if (!group || !isa<nn::SliceOp>(op) || !offset || *offset % alignment != 0)
      continue;
    SmallVector<Operation *> views = {&op};
    Operation *source = op.getOperand(0).getDefiningOp();
    for (; isa_and_nonnull<nn::ReshapeOp>(source) && of(source) == group;
         source = source->getOperand(0).getDefiningOp())
      views.push_back(source);
    if (source && (of(source) == group || isa<nn::ConstantOp>(source)))
      continue;
    for (Operation *view : views) {
      groupOf.erase(view);
      llvm::erase(group->ops, view);
    }
  }
  llvm::erase_if(groups, [](const auto &group) { return group->ops.empty(); });
}

Grouping::Grouping(Block &block, int64_t alignment) : block(block) {
  mergeConstants(block);
  findWidening();
  duplicateViews();
  Operation *lastCommand = nullptr;
  for (auto [index, op] : llvm::enumerate(block)) {
    position[&op] = index;
    latest.push_back(index);
    if (!hasGroup(&op) && !isa<nn::ConstantOp, nn::WeightOp>(op)) {
      before[&op] = lastCommand;
      lastCommand = &op;
    }
    if (hasGroup(&op) && !isPullable(&op))
      create(&op, rootKind(&op));
  }
  for (size_t i = 0, count = groups.size(); i < count; ++i)
    follow(*groups[i]);
  for (Operation &op : llvm::reverse(block))
    if (hasGroup(&op) && !of(&op))
      lead(&op);
  releaseViews(alignment);
}
