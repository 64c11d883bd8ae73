//===- Keys.h - what top-k looks at ----------------------------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_EMIT_KEYS_H
#define CLEAVE_LIB_TARGET_EMIT_KEYS_H

#include "Columns.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace cleave::emit {

/// Elements of a column as keys, integers that are the greater the further in front top-k
/// takes them, and a list of those that it takes.
class Keys : public Columns {
public:
  /// A key, and the number of its element in the column.
  struct Entry {
    Value key, number;
  };

  Keys(Emitter &emitter, nn::TopKOp op);

  /// Words that an entry takes in memory.
  static int64_t entryWords(nn::TopKOp op);
  static int64_t listWords(nn::TopKOp op) { return op.getK() * entryWords(op); }

protected:
  /// Of element `number` of the column that begins at `first`; of each lane of `number`.
  Value pullKey(const Index &first, const Index &number);
  /// Of equal keys the earlier is in front.
  Value isInFront(const Entry &x, const Entry &y);
  /// Stores element `number` of a column, which begins at `first`, at place `rank` of the results.
  void storeResult(const Index &column, const Index &first, const Index &rank, Value number);

  Entry loadEntry(const Index &at);
  void storeEntry(const Index &at, const Entry &entry);

  Value constant(Type type, int64_t value);
  Value number(int64_t value) { return constant(word, value); }
  Value compare(mlir::arith::CmpIPredicate predicate, Value x, Value y) {
    return mlir::arith::CmpIOp::create(b, loc, predicate, x, y);
  }
  Value equal(Value x, Value y) { return compare(mlir::arith::CmpIPredicate::eq, x, y); }
  Value greater(Value x, Value y) { return compare(mlir::arith::CmpIPredicate::ugt, x, y); }
  Value both(Value x, Value y) { return mlir::arith::AndIOp::create(b, loc, x, y); }
  Value either(Value x, Value y) { return mlir::arith::OrIOp::create(b, loc, x, y); }
  Value select(Value test, Value x, Value y) {
    return mlir::arith::SelectOp::create(b, loc, test, x, y);
  }
  Value add(Value x, Value y) { return mlir::arith::AddIOp::create(b, loc, x, y); }
  Value subtract(Value x, Value y) { return mlir::arith::SubIOp::create(b, loc, x, y); }
  /// Longer with zeros, or shorter.
  Value resize(Type type, Value x);
  Index indexOf(Value number, int64_t extent);
  Value numberOf(Value index) { return mlir::arith::IndexCastOp::create(b, loc, word, index); }

  Value loadWord(int64_t base, const Index &at);
  void storeWord(int64_t base, const Index &at, Value x);

  Emitter &e;
  mlir::OpBuilder &b;
  mlir::Location loc;
  nn::TopKOp op;
  int64_t wanted, bits; ///< of a key
  Type word, keyType;
  /// Where the list is: in scratch from `list`, unless it is in the workspace.
  int64_t list = 0;
  std::optional<Index> workspace;

private:
  Value keyOf(Value x);
};

} // namespace cleave::emit

#endif // CLEAVE_LIB_TARGET_EMIT_KEYS_H
