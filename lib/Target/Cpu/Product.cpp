//===- Product.cpp - products in panels and tiles -------------------------===//
//
// c[b, m, n] = Σk a[b, m, k] * b[b, k, n] in panels of NR columns:
//
//   blocks of rows | parts of K | panels | tiles of rows | k | MR x NV fma
//
// b is read where it lies if its columns are contiguous there (packed weights,
// row-major activations), else it is pulled into panels first, or by few rows
// computed on the way (Computed); a likewise is read if its elements have fixed strides. Partial
// sums of a long K wait in the first f32 output. What follows is pulled from the sums.
//
// Bytes lie such that four k are one element where the machine has dot products of four
// (Kernel/PackWeights); K then counts these. Else they are multiplied as f32, which holds sums of
// some hundreds of their products exactly: these are added up in i32. So integers cost what floats
// do, and weights a quarter to read.
//
//===----------------------------------------------------------------------===//

#include "Bytes.h"
#include "Computed.h"
#include "Roots.h"
#include "Tile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace cleave;
using namespace cleave::cpu;
using namespace cleave::emit;

namespace {

/// Elements of K between which sums stay in registers, at most.
constexpr int64_t kPartOfK = 768;
/// Rows that share a panel while it is near.
constexpr int64_t kBlockOfRows = 128;
/// f32 elements ahead of the one stream that few rows read.
constexpr int64_t kStreamAhead = kBytesAhead / 4;

/// Where an operand is read: an argument with strides, or scratch.
struct Source {
  bool isScratch = true;
  unsigned argument = 0;
  Type element;
  Index at;
};

struct PanelProduct {
  PanelProduct(Emitter &e, const Product &product)
      : e(e), b(e.builder), loc(e.loc), root(product.root), outputs(e.kernel, root),
        shape(product.sizes), operands(product.operands), computed(e, product),
        lanes(e.machine.lanes), isBytes(cleave::cpu::isByteProduct(root)) {}

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

  /// The widest panels that b can be read in. 8-bit floats become f32 by a dozen instructions,
  /// so they are packed where several tiles of rows would read them.
  void choosePanels() {
    if (findDots())
      return;
    bool isFound = false;
    for (int64_t vectors : {3, 2, 1}) {
      width = vectors * lanes;
      if (shape.n < width && vectors > 1)
        continue;
      panels = shape.n / width;
      Index anyBatch = free(shape.batch), anyK = free(shape.k), panel = free(panels);
      Index column = free(width);
      auto leaf = operands.traceB(anyBatch, anyK, panel * width + column);
      isFound = panels > 0 && isReadable(leaf);
      isComputed = !isFound && computed.isReadable(width);
      packed =
          !isFound || (nn::isByteFloat(leaf->element) && shape.m > tileRows(e.machine, vectors));
      if (isFound || isComputed)
        break;
    }
    if (!isFound && !isComputed) {
      // Packing chooses by itself: what pads least.
      width = lanes;
      for (int64_t vectors : {2, 3})
        if (shape.n % (vectors * lanes) == 0)
          width = vectors * lanes;
      panels = shape.n / width;
    }
    rows = tileRows(e.machine, width / lanes);
    if (packed && !(isComputed && shape.m <= rows) && panels > 0)
      packBase = e.reserve(width * shape.k);
  }

  /// Counts K in fours from here on, if b's panels lie for dot products of as many bytes.
  bool findDots() {
    if (!e.machine.addByteProducts || !isDotProduct(root) || shape.k % kBytesOfDot != 0)
      return false;
    unit = kBytesOfDot;
    shape.k /= unit;
    Index anyBatch = free(shape.batch), anyK = free(shape.k);
    auto isLaid = [&](const Index &first, int64_t columns, bool isTail) {
      Index column = free(columns);
      auto at = [&](int64_t plus) {
        return operands.traceB(anyBatch, anyK * unit + plus, first + column);
      };
      auto leaf = at(0);
      return leaf && leaf->at.factor(column.terms.front().first) == unit && areBeside(at) &&
             (!isTail || goesOn(*leaf, anyBatch, anyK, llvm::alignTo(columns, lanes)));
    };
    for (int64_t vectors : {3, 2, 1}) {
      width = vectors * lanes;
      panels = shape.n / width;
      int64_t rest = shape.n % width;
      bool isWhole = panels == 0 || isLaid(free(panels) * width, width, /*isTail=*/false);
      if (isWhole && (rest == 0 || isLaid(panels * width, rest, /*isTail=*/true))) {
        rows = tileRows(e.machine, vectors);
        return true;
      }
    }
    shape.k *= unit;
    unit = 1;
    return false;
  }

  bool isReadable(const std::optional<Emitter::Leaf> &leaf) const {
    // The lane is the symbol made last.
    return leaf && !leaf->at.terms.empty() && leaf->at.terms.back().second == 1 &&
           (isa<FloatType>(leaf->element) || isBytes);
  }

  //===--- bytes, whose sums are i32 and wait as the bits of f32 ---===//

  Type typeOf(Type element, Value like) { return e.vectorOf(element, e.laneCount(like)); }

  /// A factor as it is multiplied, where it is an integer of `element`, or i32.
  Value toFloat(Value x, Type element) {
    if (!isBytes || e.isDry() || isa<FloatType>(getElementTypeOrSelf(x.getType())))
      return x;
    Type type = typeOf(b.getF32Type(), x);
    return element.isUnsignedInteger() ? arith::UIToFPOp::create(b, loc, type, x).getResult()
                                       : arith::SIToFPOp::create(b, loc, type, x).getResult();
  }
  Value toBits(Value sum) {
    return isBytes ? arith::BitcastOp::create(b, loc, typeOf(b.getF32Type(), sum), sum).getResult()
                   : sum;
  }
  Value ofBits(Value bits) {
    return isBytes && !e.isDry()
               ? arith::BitcastOp::create(b, loc, typeOf(b.getI32Type(), bits), bits).getResult()
               : bits;
  }

  /// `start` and the products of `tile` from k0 to k1.
  SmallVector<Value> addUp(const Tile &tile, int64_t k0, int64_t k1, ArrayRef<Value> start,
                           int64_t parts = 1) {
    if (!isBytes || unit > 1)
      return tile.multiply(e, e.indexConstant(k0), e.indexConstant(k1), start, parts);
    auto element = [&](unsigned i) { return getElementTypeOrSelf(root->getOperand(i).getType()); };
    int64_t most = exactProducts(element(0), element(1));
    Value end = e.indexConstant(k1);
    return e.loop(e.indexConstant(k0), end, most, start, [&](Value k, ValueRange before) {
      Value last = arith::AddIOp::create(b, loc, k, e.indexConstant(most));
      last = arith::MinUIOp::create(b, loc, last, end);
      SmallVector<Value> none(before.size(), e.zero(lanes));
      SmallVector<Value> sums = tile.multiply(e, k, last, none, parts);
      for (auto [sum, more] : llvm::zip_equal(sums, before)) {
        Value whole = arith::FPToSIOp::create(b, loc, more.getType(), sum);
        sum = arith::AddIOp::create(b, loc, more, whole);
      }
      return sums;
    });
  }

  void findA() {
    row = free(shape.m);
    k = free(shape.k);
    auto at = [&](int64_t plus) { return operands.traceA(batch, row, k * unit + plus); };
    auto leaf = at(0);
    a = Source();
    if (leaf && (unit > 1 ? areBeside(at) : leaf->element.isF32())) {
      a = {false, leaf->argument, leaf->element, leaf->at};
      return;
    }
    int64_t bytes = shape.m * shape.k * unit;
    if (rowsBase < 0)
      rowsBase = e.reserve(bytes);
    e.nest(bytes, [&](const Index &at) {
      auto [r, c] = e.divide(at, shape.k * unit);
      e.storeScratch(rowsBase, at, toFloat(operands.pullA(batch, r, c), b.getI32Type()));
    });
    if (unit > 1 && bytesBase < 0)
      bytesBase = e.reserve(llvm::alignTo(bytes, lanes) / unit);
    if (unit > 1)
      storeBytes(e, rowsBase, bytesBase, bytes);
    a.at = row * shape.k + k + (unit > 1 ? bytesBase : rowsBase);
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
    if (unit > 1)
      return loadFours(e, memoryOf(source), address, count);
    if (!source.isScratch)
      return toFloat(e.loadArgument(source.argument, source.element, address, count),
                     source.element);
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
      return loadElements(
          a, e.value(Index::of(e.symbol(address, 1)) + r * rowStride + plus * kStride), 1);
    };
  }

  /// Vectors of b in panel `panel` of columns beginning at `column`.
  Tile tileOf(int64_t height, int64_t vectors, const Source &from, const Index &kOfB,
              const Index &first) {
    Tile tile{height, vectors, readerOfA(first), {}, {}};
    if (unit > 1)
      tile.add = [this](Value x, Value y, Value sum) {
        return e.machine.addByteProducts(b, loc, sum, x, y);
      };
    int64_t kStride = from.at.factor(kOfB.terms.front().first);
    Value base = e.value(replace(from.at, kOfB, 0));
    tile.b = [=, this](int64_t v, Value at, int64_t plus) {
      Index address = Index::of(e.symbol(base, 1)) + Index::of(e.symbol(at, 1)) * kStride;
      return loadElements(from, e.value(address + v * (lanes * unit) + plus * kStride), lanes);
    };
    return tile;
  }

  /// Where panel `panel` is read, packing k0 to k1 of it if it has to be.
  Source panelOf(const Index &panel, const Index &kOfB, int64_t k0, int64_t k1) {
    if (!packed) {
      auto leaf = operands.traceB(batch, kOfB * unit, panel * width);
      return {false, leaf->argument, leaf->element, leaf->at};
    }
    Source source;
    source.at = kOfB * width + packBase;
    source.element = b.getF32Type();
    if (isComputed) {
      computed.store(packBase, k0, k1, batch, panel, width);
      return source;
    }
    e.nest((k1 - k0) * width, [&](const Index &at) {
      auto [depth, column] = e.divide(at + k0 * width, width);
      e.storeScratch(packBase, at + k0 * width,
                     toFloat(operands.pullB(batch, depth, panel * width + column), b.getI32Type()));
    });
    return source;
  }

  Index resultAt(const Index &r, const Index &column) {
    return batch * (shape.m * shape.n) + r * shape.n + column;
  }

  SmallVector<Value> zeros(int64_t count) {
    Type element = isBytes ? Type(b.getI32Type()) : b.getF32Type();
    return SmallVector<Value>(count, e.constantOf(element, 0, lanes));
  }

  /// Pulls what follows from `sums` and stores it.
  void finish(ArrayRef<Value> sums, int64_t height, const Index &first, const Index &column) {
    int64_t vectors = width / lanes;
    if (isHeavy()) {
      // The chain is emitted once and runs over the rows of the tile.
      if (tileBase < 0)
        tileBase = e.reserve(rows * width);
      for (int64_t i = 0; i < height * vectors; ++i)
        e.storeScratch(tileBase, Index(i * lanes) + e.laneSymbol(lanes), toBits(sums[i]));
      e.loop(0, height, 1, [&](const Index &r) {
        for (int64_t v = 0; v < vectors; ++v)
          outputs.storeBehind(e, ofBits(e.loadScratch(tileBase, r * width + v * lanes, lanes)),
                              resultAt(first + r, column + v * lanes + e.laneSymbol(lanes)));
      });
      return;
    }
    for (int64_t v = 0; v < vectors; ++v)
      for (int64_t r = 0; r < height; ++r)
        outputs.storeBehind(e, sums[r * vectors + v],
                            resultAt(first + r, column + v * lanes + e.laneSymbol(lanes)));
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
      if (isComputed)
        return finish(computed.multiply(readerOfA(0), shape.m, batch, panel, width), shape.m, 0,
                      panel * width);
      Index kOfB = free(shape.k);
      Source from = panelOf(panel, kOfB, 0, shape.k);
      Tile tile = tileOf(shape.m, width / lanes, from, kOfB, 0);
      if (isStream(from, kOfB))
        tile.ahead =
            stream(from, e.value(replace(from.at, kOfB, 0) + kStreamAhead * unit), width * unit, 3);
      SmallVector<Value> sums = addUp(tile, 0, shape.k, zeros(shape.m * (width / lanes)), parts);
      finish(sums, shape.m, 0, panel * width);
    });
  }

  /// Whether a panel of `from` lies in memory without gaps.
  bool isStream(const Source &from, const Index &kOfB) const {
    return !from.isScratch && from.at.factor(kOfB.terms.front().first) == width * unit;
  }

  /// Fetches `pace` elements for each k, `start` being those of k = 0.
  std::function<void(Value, int64_t)> stream(const Source &from, Value start, int64_t pace,
                                             int locality) {
    int64_t line = kLineBytes * 8 / from.element.getIntOrFloatBitWidth();
    return [=, this](Value k, int64_t count) {
      Index at = Index::of(e.symbol(start, 1)) + Index::of(e.symbol(k, 1)) * pace;
      for (int64_t i = 0; i < pace * count; i += line)
        memref::PrefetchOp::create(b, loc, memoryOf(from), ValueRange{e.value(at + i)},
                                   /*isWrite=*/false, locality, /*isDataCache=*/true);
    };
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

  /// Parts of K such that a block's rows of a and a panel are near.
  int64_t partsOfK() const {
    int64_t part = e.machine.nearBytes / 4 / (std::min(shape.m, kBlockOfRows) + width);
    return std::max<int64_t>(llvm::divideCeil(shape.k, std::min(part, kPartOfK)), 1);
  }

  void thick() {
    int64_t parts = partsOfK();
    waitingOutput = waiting();
    if (parts > 1 && !waitingOutput && sumsBase < 0)
      sumsBase = e.reserve(shape.m * shape.n);
    forTiles(e, shape.m, kBlockOfRows, [&](const Index &top, int64_t height, const Index &) {
      for (int64_t part = 0; part < parts; ++part) {
        int64_t k0 = shape.k * part / parts / 8 * 8;
        int64_t k1 = part + 1 == parts ? shape.k : shape.k * (part + 1) / parts / 8 * 8;
        e.loop(0, panels, 1,
               [&](const Index &panel) { multiplyPanel(panel, top, height, k0, k1); });
      }
    });
  }

  /// `height` rows from `top` times k0 to k1 of a panel.
  void multiplyPanel(const Index &panel, const Index &top, int64_t height, int64_t k0, int64_t k1) {
    Index kOfB = free(shape.k);
    Source from = panelOf(panel, kOfB, k0, k1);
    int64_t vectors = width / lanes;
    forTiles(e, height, rows, [&](const Index &at, int64_t r, const Index &number) {
      Index first = top + at;
      Tile tile = tileOf(r, vectors, from, kOfB, first);
      if (isStream(from, kOfB) && !panel.isConstant())
        tile.ahead = nextPanel(from, kOfB, panel, number, llvm::divideCeil(height, rows), k0, k1);
      SmallVector<Value> start = zeros(r * vectors);
      if (k0 > 0)
        eachSum(r, first, panel, [&](int64_t i, Value memory, Value place) {
          start[i] = ofBits(vector::LoadOp::create(b, loc, VectorType::get({lanes}, b.getF32Type()),
                                                   memory, place));
        });
      SmallVector<Value> sums = addUp(tile, k0, k1, start);
      if (k1 == shape.k)
        return finish(sums, r, first, panel * width);
      eachSum(r, first, panel, [&](int64_t i, Value memory, Value place) {
        vector::StoreOp::create(b, loc, toBits(sums[i]), memory, place);
      });
    });
  }

  /// Where the sums of a tile wait for the next part of K.
  void eachSum(int64_t height, const Index &first, const Index &panel,
               function_ref<void(int64_t, Value, Value)> step) {
    int64_t vectors = width / lanes;
    for (int64_t r = 0; r < height; ++r)
      for (int64_t v = 0; v < vectors; ++v) {
        Index at = resultAt(first + r, panel * width + v * lanes);
        if (waitingOutput)
          step(r * vectors + v, e.outputMemory(*waitingOutput), e.value(at));
        else
          step(r * vectors + v, e.scratchMemory(),
               e.value(at - batch * (shape.m * shape.n) + sumsBase));
      }
  }

  /// Each of `tiles` tiles fetches its share of the panel that comes next, so that
  /// memory is asked for it evenly.
  std::function<void(Value, int64_t)> nextPanel(const Source &from, const Index &kOfB,
                                                const Index &panel, const Index &number,
                                                int64_t tiles, int64_t k0, int64_t k1) {
    int64_t pace = llvm::divideCeil(width * unit, tiles);
    int64_t distance = from.at.factor(panel.terms.front().first);
    // The first tile begins with the panel's row k0, at its own k0.
    Index start = replace(from.at, kOfB, k0) + distance + number * (pace * (k1 - k0)) - k0 * pace;
    return stream(from, e.value(start), pace, 2);
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
    auto leaf = packed ? std::nullopt : operands.traceB(batch, kOfB * unit, first + free(columns));
    if (leaf && (unit > 1 || (isReadable(leaf) && goesOn(*leaf, batch, kOfB, tailWidth)))) {
      leaf = operands.traceB(batch, kOfB * unit, first);
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
        Value x = operands.pullB(batch, depth, first + column);
        e.storeScratch(raggedBase, depth * tailWidth + column, toFloat(x, b.getI32Type()));
      });
      from.at = kOfB * tailWidth + raggedBase;
      from.element = b.getF32Type();
    }
    int64_t height = std::min(tileRows(e.machine, vectors), shape.m);
    if (raggedTile < 0)
      raggedTile = e.reserve(height * tailWidth);
    forTiles(e, shape.m, height, [&](const Index &top, int64_t r, const Index &) {
      Tile tile = tileOf(r, vectors, from, kOfB, top);
      SmallVector<Value> sums = addUp(tile, 0, shape.k, zeros(r * vectors));
      for (int64_t i = 0; i < r * vectors; ++i)
        e.storeScratch(raggedTile, Index(i * lanes) + e.laneSymbol(lanes), toBits(sums[i]));
      e.loop(0, r, 1, [&](const Index &i) {
        Index start = resultAt(top + i, first);
        e.define(root->getResult(0), [&](const Index &at) {
          Index place = at - start;
          return ofBits(e.loadScratch(raggedTile, i * tailWidth + place, e.lanesOf(place)));
        });
        e.nest(columns, [&](const Index &at) { outputs.storeBehind(e, start + at); });
        e.undefine(root->getResult(0));
      });
    });
  }

  /// Whether vectors of `columns` at the last k lie inside the argument.
  bool goesOn(const Emitter::Leaf &leaf, const Index &ofBatch, const Index &kOfB, int64_t columns) {
    auto type = cast<RankedTensorType>(e.kernel.getArgumentTypes()[leaf.argument]);
    int64_t last = leaf.at.constant + columns * unit;
    last += leaf.at.factor(kOfB.terms.front().first) * (shape.k - 1);
    for (auto [symbol, factor] : ofBatch.terms)
      last += leaf.at.factor(symbol) / factor * (shape.batch - 1);
    return last <= type.getNumElements();
  }

  Emitter &e;
  OpBuilder &b;
  Location loc;
  Operation *root;
  Outputs outputs;
  ProductSizes shape;
  const ProductOperands &operands;
  ComputedOperand computed;
  int64_t lanes, width = 0, panels = 0, rows = 0;
  bool packed = false, isBytes;
  bool isComputed = false; ///< panels of b are made by `computed`
  int64_t unit = 1;        ///< bytes of K that are one element
  int64_t packBase = -1, rowsBase = -1, bytesBase = -1, tileBase = -1, sumsBase = -1,
          raggedBase = -1, raggedTile = -1;
  std::optional<unsigned> waitingOutput; ///< holds partial sums, else scratch does
  Index batch, row, k;
  Source a;
};

} // namespace

void cleave::cpu::emitProduct(Emitter &e, const Product &product) {
  PanelProduct(e, product).run();
}
