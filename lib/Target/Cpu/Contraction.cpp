//===- Contraction.cpp - products, with what follows them -----------------===//
//
// c[b, m, n] = Σk a[b, m, k] * b[b, k, n] in panels of NR columns:
//
//   blocks of 16 tiles | parts of K | panels | tiles of rows | k | MR x NV fma
//
// b is read where it lies if its columns are contiguous there (packed weights,
// row-major activations), else it is pulled into panels first; a likewise if
// its elements have fixed strides. Partial sums of a long K wait in the first
// f32 output. What follows is pulled from the sums.
//
//===----------------------------------------------------------------------===//

#include "Roots.h"
#include "Tile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cpu;

namespace {

/// Elements of K between which sums stay in registers: a panel's part then
/// fits the second level cache beside the rows of a.
constexpr int64_t kPartOfK = 768;
/// Tiles of rows that share a panel while it is near.
constexpr int64_t kBlockOfTiles = 16;
/// f32 elements ahead of the one stream that few rows read.
constexpr int64_t kStreamAhead = 1024;

struct Shape {
  int64_t batch, m, n, k;
};

/// Where an operand is read: an argument with strides, or scratch.
struct Source {
  bool isScratch = true;
  unsigned argument = 0;
  Type element;
  Index at;
};

struct Product {
  Product(Emitter &e, Operation *root, Shape shape)
      : e(e), b(e.builder), loc(e.loc), root(root), outputs(e.kernel, root), shape(shape),
        lanes(e.machine.lanes) {}

  /// Values by batch, row or column, and k.
  std::function<Value(const Index &, const Index &, const Index &)> pullA, pullB;
  std::function<std::optional<Emitter::Leaf>(const Index &, const Index &, const Index &)> traceA,
      traceB;

  void run() {
    if (shape.batch * shape.m * shape.n == 0)
      return;
    choosePanels();
    e.loop(0, shape.batch, 1, [&](const Index &index) {
      batch = index;
      findA();
      if (shape.m <= rows)
        thin();
      else
        thick();
      ragged();
    });
  }

private:
  Index free(int64_t extent) { return Index::of(e.symbol({}, extent)); }

  /// The widest panels that b can be read in without packing.
  void choosePanels() {
    for (int64_t vectors : {3, 2, 1}) {
      width = vectors * lanes;
      if (shape.n < width && vectors > 1)
        continue;
      panels = shape.n / width;
      Index anyBatch = free(shape.batch), anyK = free(shape.k), panel = free(panels);
      Index column = free(width);
      if (panels > 0 && isReadable(traceB(anyBatch, anyK, panel * width + column)))
        break;
      packed = vectors == 1;
    }
    if (packed) {
      // Packing chooses by itself: what pads least.
      width = lanes;
      for (int64_t vectors : {2, 3})
        if (shape.n % (vectors * lanes) == 0)
          width = vectors * lanes;
      panels = shape.n / width;
    }
    if (packed && panels > 0)
      packBase = e.reserve(width * shape.k);
    rows = tileRows(e.machine, width / lanes);
  }

  static bool isReadable(const std::optional<Emitter::Leaf> &leaf) {
    // The lane is the symbol made last.
    return leaf && !leaf->at.terms.empty() && leaf->at.terms.back().second == 1 &&
           isa<FloatType>(leaf->element);
  }

  void findA() {
    row = free(shape.m);
    k = free(shape.k);
    auto leaf = traceA(batch, row, k);
    a = Source();
    if (leaf && leaf->element.isF32()) {
      a = {false, leaf->argument, leaf->element, leaf->at};
      return;
    }
    if (rowsBase < 0)
      rowsBase = e.reserve(shape.m * shape.k);
    e.nest(shape.m * shape.k, [&](const Index &at) {
      auto [r, c] = e.divide(at, shape.k);
      e.storeScratch(rowsBase, at, pullA(batch, r, c));
    });
    a.at = row * shape.k + k + rowsBase;
    a.element = b.getF32Type();
  }

  /// `at` with `symbol` (an index of one symbol) replaced.
  static Index replace(const Index &at, const Index &symbol, const Index &by) {
    int64_t factor = at.factor(symbol.terms.front().first);
    return at - symbol * factor + by * factor;
  }

  Value memoryOf(const Source &source) {
    return source.isScratch ? e.scratchMemory() : e.argumentMemory(source.argument);
  }

  Value loadElements(const Source &source, Value address, int64_t count) {
    if (!source.isScratch)
      return e.loadArgument(source.argument, source.element, address, count);
    return e.loadScratch(0, Index::of(e.symbol(address, 1)), count);
  }

  /// Base address, and k's stride, of the rows of a from `first`.
  std::function<Value(int64_t, Value, int64_t)> readerOfA(const Index &first) {
    int64_t kStride = a.at.factor(k.terms.front().first);
    int64_t rowStride = a.at.factor(row.terms.front().first);
    Value base = e.value(replace(replace(a.at, k, 0), row, first));
    Value previous, address; // one multiplication a k
    return [=, this](int64_t r, Value at, int64_t plus) mutable -> Value {
      if (previous != at || r == 0) {
        Index offset = Index::of(e.symbol(base, 1)) + Index::of(e.symbol(at, 1)) * kStride;
        address = e.value(offset);
        previous = at;
      }
      return loadElements(a, e.value(Index::of(e.symbol(address, 1)) + r * rowStride +
                                     plus * kStride),
                          1);
    };
  }

  /// Vectors of b in panel `panel` of columns beginning at `column`.
  Tile tileOf(int64_t height, int64_t vectors, const Source &from, const Index &kOfB,
              const Index &first) {
    Tile tile{height, vectors, readerOfA(first), {}, {}};
    int64_t kStride = from.at.factor(kOfB.terms.front().first);
    Value base = e.value(replace(from.at, kOfB, 0));
    tile.b = [=, this](int64_t v, Value at, int64_t plus) {
      Index address = Index::of(e.symbol(base, 1)) + Index::of(e.symbol(at, 1)) * kStride;
      return loadElements(from, e.value(address + v * lanes + plus * kStride), lanes);
    };
    return tile;
  }

  /// Where panel `panel` is read, packing it if it has to be.
  Source panelOf(const Index &panel, const Index &kOfB) {
    if (!packed) {
      auto leaf = traceB(batch, kOfB, panel * width);
      return {false, leaf->argument, leaf->element, leaf->at};
    }
    e.nest(shape.k * width, [&](const Index &at) {
      auto [depth, column] = e.divide(at, width);
      e.storeScratch(packBase, at, pullB(batch, depth, panel * width + column));
    });
    Source source;
    source.at = kOfB * width + packBase;
    source.element = b.getF32Type();
    return source;
  }

  Index resultAt(const Index &r, const Index &column) {
    return batch * (shape.m * shape.n) + r * shape.n + column;
  }

  SmallVector<Value> zeros(int64_t count) {
    return SmallVector<Value>(count, e.zero(lanes));
  }

  /// Pulls what follows from `sums` and stores it.
  void finish(ArrayRef<Value> sums, int64_t height, const Index &first, const Index &column) {
    int64_t vectors = width / lanes;
    if (isHeavy()) {
      // The chain is emitted once and runs over the rows of the tile.
      if (tileBase < 0)
        tileBase = e.reserve(rows * width);
      for (int64_t i = 0; i < height * vectors; ++i)
        e.storeScratch(tileBase, Index(i * lanes) + e.laneSymbol(lanes), sums[i]);
      e.loop(0, height, 1, [&](const Index &r) {
        for (int64_t v = 0; v < vectors; ++v)
          follow(e.loadScratch(tileBase, r * width + v * lanes, lanes),
                 resultAt(first + r, column + v * lanes + e.laneSymbol(lanes)));
      });
      return;
    }
    for (int64_t v = 0; v < vectors; ++v)
      for (int64_t r = 0; r < height; ++r)
        follow(sums[r * vectors + v],
               resultAt(first + r, column + v * lanes + e.laneSymbol(lanes)));
  }

  void follow(Value sum, const Index &at) {
    e.define(root->getResult(0), [=](const Index &) { return sum; });
    e.forget();
    outputs.storeBehind(e, at);
    e.undefine(root->getResult(0));
  }

  bool isHeavy() const {
    return llvm::any_of(e.kernel.getBody().front(), [](Operation &op) {
      return isa<nn::GeluOp, nn::TanhOp, nn::ErfOp, nn::ExpOp, nn::SiluOp, nn::SigmoidOp, nn::PowOp,
                 nn::LogOp, nn::SinOp, nn::CosOp>(op);
    });
  }

  /// Few rows: one tile a panel, the whole of K, b as one stream.
  void thin() {
    int64_t parts = shape.m == 1 ? 4 : shape.m == 2 ? 2 : 1;
    e.loop(0, panels, 1, [&](const Index &panel) {
      Index kOfB = free(shape.k);
      Source from = panelOf(panel, kOfB);
      Tile tile = tileOf(shape.m, width / lanes, from, kOfB, 0);
      if (!from.isScratch)
        tile.ahead = streamAhead(from, kOfB);
      int64_t whole = shape.k / parts * parts;
      SmallVector<Value> sums = tile.multiply(e, e.indexConstant(0), e.indexConstant(whole),
                                              zeros(shape.m * (width / lanes)), parts);
      if (whole < shape.k)
        sums = tile.multiply(e, e.indexConstant(whole), e.indexConstant(shape.k), sums);
      finish(sums, shape.m, 0, panel * width);
    });
  }

  std::function<void(Value, int64_t)> streamAhead(const Source &from, const Index &kOfB) {
    int64_t kStride = from.at.factor(kOfB.terms.front().first);
    if (kStride != width)
      return {};
    Value base = e.value(replace(from.at, kOfB, 0));
    return [=, this](Value at, int64_t plus) {
      for (int64_t v = 0; v < width; v += 16)
        prefetch(from, Index::of(e.symbol(base, 1)) + Index::of(e.symbol(at, 1)) * kStride +
                           plus * kStride + v + kStreamAhead, 3);
    };
  }

  void prefetch(const Source &from, const Index &at, int locality) {
    memref::PrefetchOp::create(b, loc, memoryOf(from), ValueRange{e.value(at)},
                               /*isWrite=*/false, locality, /*isDataCache=*/true);
  }

  /// The output that can hold partial sums, or scratch.
  std::optional<unsigned> waiting() const {
    for (unsigned number : outputs.behind) {
      auto type = cast<RankedTensorType>(outputs.end->getOperand(number).getType());
      if (type.getElementType().isF32())
        return number;
    }
    return std::nullopt;
  }

  void thick() {
    int64_t parts = std::max<int64_t>(llvm::divideCeil(shape.k, kPartOfK), 1);
    std::optional<unsigned> output = waiting();
    if (parts > 1 && !output && sumsBase < 0)
      sumsBase = e.reserve(shape.m * shape.n);
    auto sumPlace = [&](const Index &at) {
      Value memory = output ? e.outputMemory(*output) : e.scratchMemory();
      Index place = output ? at : at - batch * (shape.m * shape.n) + sumsBase;
      return std::make_pair(memory, e.value(place));
    };
    auto vectorType = VectorType::get({lanes}, b.getF32Type());
    int64_t vectors = width / lanes;

    int64_t blockRows = kBlockOfTiles * rows;
    for (int64_t m0 = 0; m0 < shape.m; m0 += blockRows) {
      // Equal blocks are one loop, what is left another.
      int64_t height = std::min(blockRows, shape.m - m0);
      int64_t equal = height == blockRows ? shape.m / blockRows : 1;
      e.loop(0, equal, 1, [&](const Index &block) {
        Index top = block * blockRows + m0;
        for (int64_t part = 0; part < parts; ++part) {
          int64_t k0 = shape.k * part / parts / 8 * 8;
          int64_t k1 = part + 1 == parts ? shape.k : shape.k * (part + 1) / parts / 8 * 8;
          e.loop(0, panels, 1, [&](const Index &panel) {
            Index kOfB = free(shape.k);
            Source from = panelOf(panel, kOfB);
            forTiles(e, height, rows, [&](const Index &at, int64_t r, const Index &number) {
              Index first = top + at;
              Tile tile = tileOf(r, vectors, from, kOfB, first);
              if (!from.isScratch)
                tile.ahead = nextPanel(from, kOfB, panel, number);
              SmallVector<Value> start = zeros(r * vectors);
              auto each = [&](auto step) {
                for (int64_t i = 0; i < r; ++i)
                  for (int64_t v = 0; v < vectors; ++v)
                    step(i * vectors + v,
                         sumPlace(resultAt(first + i, panel * width + v * lanes)));
              };
              if (part > 0)
                each([&](int64_t i, std::pair<Value, Value> place) {
                  start[i] = vector::LoadOp::create(b, loc, vectorType, place.first, place.second);
                });
              SmallVector<Value> sums =
                  tile.multiply(e, e.indexConstant(k0), e.indexConstant(k1), start);
              if (part + 1 == parts)
                return finish(sums, r, first, panel * width);
              each([&](int64_t i, std::pair<Value, Value> place) {
                vector::StoreOp::create(b, loc, sums[i], place.first, place.second);
              });
            });
          });
        }
      });
      m0 += (equal - 1) * blockRows;
    }
  }

  /// Each tile fetches its line of every row of the panel that comes next.
  std::function<void(Value, int64_t)> nextPanel(const Source &from, const Index &kOfB,
                                                const Index &panel, const Index &number) {
    if (panel.isConstant())
      return {};
    int64_t kStride = from.at.factor(kOfB.terms.front().first);
    int64_t distance = from.at.factor(panel.terms.front().first);
    Value line = arith::MinUIOp::create(b, loc, e.value(number),
                                        e.indexConstant(llvm::divideCeil(width, 16) - 1));
    Index ahead =
        replace(from.at, kOfB, 0) + distance + Index::of(e.symbol(line, 16)) * 16;
    Value base = e.value(ahead);
    return [=, this](Value at, int64_t plus) {
      prefetch(from, Index::of(e.symbol(base, 1)) + Index::of(e.symbol(at, 1)) * kStride +
                         plus * kStride, 2);
    };
  }

  /// Columns behind the last whole panel: read in whole vectors if memory goes
  /// on behind them, else packed; finished element by element.
  void ragged() {
    int64_t columns = shape.n - panels * width;
    if (columns == 0)
      return;
    int64_t vectors = llvm::divideCeil(columns, lanes), tailWidth = vectors * lanes;
    Index first(panels * width), kOfB = free(shape.k);
    Source from;
    auto leaf = packed ? std::nullopt : traceB(batch, kOfB, first + free(columns));
    if (leaf && isReadable(leaf) && goesOn(*leaf, kOfB, tailWidth)) {
      leaf = traceB(batch, kOfB, first);
      from = {false, leaf->argument, leaf->element, leaf->at};
    } else {
      if (raggedBase < 0)
        raggedBase = e.reserve(shape.k * tailWidth);
      e.loop(0, shape.k, 1, [&](const Index &depth) {
        for (int64_t v = columns / lanes; v < vectors; ++v)
          e.storeScratch(raggedBase, depth * tailWidth + v * lanes + e.laneSymbol(lanes),
                         e.zero(lanes));
      });
      e.nest(shape.k * columns, [&](const Index &at) {
        auto [depth, column] = e.divide(at, columns);
        e.storeScratch(raggedBase, depth * tailWidth + column,
                       pullB(batch, depth, first + column));
      });
      from.at = kOfB * tailWidth + raggedBase;
      from.element = b.getF32Type();
    }
    int64_t height = std::min(tileRows(e.machine, vectors), shape.m);
    if (raggedTile < 0)
      raggedTile = e.reserve(height * tailWidth);
    forTiles(e, shape.m, height, [&](const Index &top, int64_t r, const Index &) {
      Tile tile = tileOf(r, vectors, from, kOfB, top);
      SmallVector<Value> sums = tile.multiply(e, e.indexConstant(0), e.indexConstant(shape.k),
                                              zeros(r * vectors));
      for (int64_t i = 0; i < r * vectors; ++i)
        e.storeScratch(raggedTile, Index(i * lanes) + e.laneSymbol(lanes), sums[i]);
      e.loop(0, r, 1, [&](const Index &i) {
        Index start = resultAt(top + i, first);
        e.define(root->getResult(0), [&](const Index &at) {
          Index place = at - start;
          return e.loadScratch(raggedTile, i * tailWidth + place, e.lanesOf(place));
        });
        e.nest(columns, [&](const Index &at) { outputs.storeBehind(e, start + at); });
        e.undefine(root->getResult(0));
      });
    });
  }

  /// Whether vectors of `columns` at the last k lie inside the argument.
  bool goesOn(const Emitter::Leaf &leaf, const Index &kOfB, int64_t columns) {
    auto type = cast<RankedTensorType>(e.kernel.getArgumentTypes()[leaf.argument]);
    int64_t last = leaf.at.constant + columns;
    last += leaf.at.factor(kOfB.terms.front().first) * (shape.k - 1);
    for (auto [symbol, factor] : batch.terms)
      last += leaf.at.factor(symbol) / factor * (shape.batch - 1);
    return last <= type.getNumElements();
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  Operation *root;
  Outputs outputs;
  Shape shape;
  int64_t lanes, width = 0, panels = 0, rows = 0;
  bool packed = false;
  int64_t packBase = -1, rowsBase = -1, tileBase = -1, sumsBase = -1, raggedBase = -1,
          raggedTile = -1;
  Index batch, row, k;
  Source a;
};

} // namespace

/// Sums of any other type, one result element at a time.
static void emitPlain(Emitter &e, Operation *root, Shape shape,
                      const std::function<Value(const Index &, const Index &, const Index &)> &pullA,
                      const std::function<Value(const Index &, const Index &, const Index &)> &pullB) {
  Outputs outputs(e.kernel, root);
  auto result = cast<RankedTensorType>(root->getResult(0).getType());
  Type element = result.getElementType();
  if (auto integer = dyn_cast<IntegerType>(element))
    element = e.builder.getIntegerType(integer.getWidth());
  bool isFloat = isa<FloatType>(element);
  e.nest(shape.batch * shape.m * shape.n, [&](const Index &at) {
    SmallVector<Index> where = e.delinearize(at, {shape.batch, shape.m, shape.n});
    int64_t lanes = e.lanesOf(at);
    Value zero = e.isDry() ? Value() : e.constantOf(element, 0, lanes);
    Value sum = e.carry(0, shape.k, zero, [&](const Index &k, ValueRange acc) {
      Value x = pullA(where[0], where[1], k), y = pullB(where[0], k, where[2]);
      if (e.isDry())
        return llvm::to_vector(acc);
      x = e.broadcast(x, lanes);
      y = e.broadcast(y, lanes);
      Value next;
      if (isFloat)
        next = arith::AddFOp::create(e.builder, e.loc, acc[0],
                                     arith::MulFOp::create(e.builder, e.loc, x, y));
      else
        next = arith::AddIOp::create(e.builder, e.loc, acc[0],
                                     arith::MulIOp::create(e.builder, e.loc, x, y));
      return SmallVector<Value>{next};
    })[0];
    e.define(root->getResult(0), [=](const Index &) { return sum; });
    outputs.storeBehind(e, at);
    e.undefine(root->getResult(0));
  });
}

void cleave::cpu::emitMatmul(Emitter &e, nn::MatmulOp root) {
  Value lhs = root.getLhs(), rhs = root.getRhs();
  ArrayRef<int64_t> left = Emitter::shape(lhs), right = Emitter::shape(rhs);
  SmallVector<int64_t> batch(Emitter::shape(root.getResult()).drop_back(2));
  SmallVector<int64_t> leftBatch(left.drop_back(2)), rightBatch(right.drop_back(2));
  Shape shape{1, left[left.size() - 2], right.back(), left.back()};
  for (int64_t size : batch)
    shape.batch *= size;
  // One right operand for all batches: they are rows.
  int64_t rightSize = 1;
  for (int64_t size : rightBatch)
    rightSize *= size;
  bool isFolded = rightSize == 1 && leftBatch == batch;
  Shape whole = shape;
  if (isFolded)
    shape = {1, shape.batch * shape.m, shape.n, shape.k};

  auto atA = [=, &e](const Index &b, const Index &m, const Index &k) {
    if (isFolded)
      return m * whole.k + k;
    return (e.broadcastIndex(b, batch, leftBatch) * whole.m + m) * whole.k + k;
  };
  auto atB = [=, &e](const Index &b, const Index &k, const Index &n) {
    if (isFolded)
      return k * whole.n + n;
    return (e.broadcastIndex(b, batch, rightBatch) * whole.k + k) * whole.n + n;
  };
  auto pullA = [=, &e](const Index &b, const Index &m, const Index &k) {
    return e.pull(lhs, atA(b, m, k));
  };
  auto pullB = [=, &e](const Index &b, const Index &k, const Index &n) {
    return e.pull(rhs, atB(b, k, n));
  };
  auto type = cast<RankedTensorType>(lhs.getType());
  if (!isa<FloatType>(type.getElementType()) || type.getElementTypeBitWidth() > 32)
    return emitPlain(e, root, shape, pullA, pullB);

  Product product(e, root, shape);
  product.pullA = pullA;
  product.pullB = pullB;
  product.traceA = [=, &e](const Index &b, const Index &m, const Index &k) {
    return e.trace(lhs, atA(b, m, k));
  };
  product.traceB = [=, &e](const Index &b, const Index &k, const Index &n) {
    return e.trace(rhs, atB(b, k, n));
  };
  product.run();
}

void cleave::cpu::emitConv(Emitter &e, nn::ConvOp root) {
  // A product of the filter [g, o, (c x…)] with the windows [g, (c x…), (y…)].
  ArrayRef<int64_t> input = Emitter::shape(root.getInput());
  ArrayRef<int64_t> filter = Emitter::shape(root.getFilter());
  ArrayRef<int64_t> result = Emitter::shape(root.getResult());
  int64_t groups = root.getGroups(), channels = filter[1], filters = filter[0] / groups;
  SmallVector<int64_t> window(filter.drop_front(1)), places(result.drop_front(2));
  SmallVector<int64_t> image(input.drop_front(2));
  int64_t depth = 1, count = 1;
  for (int64_t size : window)
    depth *= size;
  for (int64_t size : places)
    count *= size;
  Shape shape{result[0] * groups, filters, count, depth};

  auto atA = [=, &e](const Index &b, const Index &m, const Index &k) {
    Index group = groups == 1 ? Index(0) : e.divide(b, groups).second;
    return (group * filters + m) * depth + k;
  };
  auto pullA = [=, &e](const Index &b, const Index &m, const Index &k) mutable {
    return e.pull(root.getFilter(), atA(b, m, k));
  };
  auto pullB = [=, &e](const Index &b, const Index &k, const Index &n) mutable -> Value {
    SmallVector<Index> tap = e.delinearize(k, window), place = e.delinearize(n, places);
    Index flat = b * channels + tap[0];
    Value inside;
    bool isOutside = false;
    for (auto [dim, size] : llvm::enumerate(image)) {
      Index at = place[dim] * root.getStrides()[dim] + tap[dim + 1] * root.getDilations()[dim] -
                 root.getLow()[dim];
      for (auto [index, bound, expected] :
           {std::tuple(at, int64_t(0), false), std::tuple(at, size, true)}) {
        Emitter::Test test = e.isBelow(index, bound);
        if (test.known) {
          isOutside |= *test.known != expected;
          continue;
        }
        if (e.isDry())
          continue;
        Value holds = test.value;
        if (!expected)
          holds = arith::XOrIOp::create(
              e.builder, e.loc, holds,
              e.constantOf(e.builder.getI1Type(), 1, e.laneCount(holds)));
        if (inside) {
          int64_t lanes = std::max(e.laneCount(inside), e.laneCount(holds));
          inside = arith::AndIOp::create(e.builder, e.loc, e.broadcast(inside, lanes),
                                         e.broadcast(holds, lanes));
        } else {
          inside = holds;
        }
      }
      flat = flat * size + e.clamp(at, size);
    }
    if (isOutside)
      return e.isDry() ? Value() : e.zero(1);
    Value x = e.pull(root.getInput(), flat);
    if (!inside || e.isDry())
      return x;
    int64_t lanes = std::max(e.laneCount(inside), e.laneCount(x));
    return arith::SelectOp::create(e.builder, e.loc, e.broadcast(inside, lanes),
                                   e.broadcast(x, lanes), e.zero(lanes));
  };
  if (cast<RankedTensorType>(root.getInput().getType()).getElementTypeBitWidth() > 32)
    return emitPlain(e, root, shape, pullA, pullB);
  Product product(e, root, shape);
  product.pullA = pullA;
  product.pullB = pullB;
  product.traceA = [=, &e](const Index &b, const Index &m, const Index &k) mutable {
    return e.trace(root.getFilter(), atA(b, m, k));
  };
  product.traceB = [](const Index &, const Index &, const Index &) {
    return std::optional<Emitter::Leaf>();
  };
  product.run();
}
