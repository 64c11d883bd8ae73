//===- Assembly.cpp - inline PTX that the simulator knows -----------------===//
//
// Straight lines of instructions, as libdevice and compilers write them for what has no
// intrinsic: arithmetic of one instruction is what NVVM's intrinsic of that name would
// be, and integers with a carry are what longer ones are made of.
//
//===----------------------------------------------------------------------===//

#include "Retarget.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/InlineAsm.h"

using namespace llvm;
using namespace cleave::simt;

namespace {

/// Instructions of PTX, as LLVM's.
class Assembly {
public:
  Assembly(Target &target, CallInst &call)
      : target(target), call(call), builder(&call), carry(builder.getInt32(0)) {
    auto *type = dyn_cast<StructType>(call.getType());
    numResults = type ? type->getNumElements() : call.getType()->isVoidTy() ? 0 : 1;
    for (auto [i, argument] : enumerate(call.args()))
      registers["$" + std::to_string(numResults + i)] = argument;
    // A result that is tied to an operand has its value until something else is put there.
    auto constraints = cast<InlineAsm>(call.getCalledOperand())->ParseConstraints();
    for (unsigned i = 0; i < numResults; ++i)
      if (int tied = constraints[i].MatchingInput; tied >= int(numResults))
        registers["$" + std::to_string(i)] = call.getArgOperand(unsigned(tied) - numResults);
  }

  /// The value of the call; null where an instruction is not known.
  Value *lower(StringRef text) {
    SmallVector<StringRef> lines;
    text.split(lines, ';');
    for (StringRef line : lines) {
      line = line.trim(" \t\n");
      while (line.consume_front("{") || line.consume_back("}"))
        line = line.trim(" \t\n");
      if (!line.empty() && !line.starts_with(".reg") && !lowerLine(line))
        return nullptr;
    }
    return result();
  }

private:
  Value *result() {
    if (numResults == 0)
      return builder.getTrue();
    if (numResults == 1)
      return registers.lookup("$0");
    Value *all = PoisonValue::get(call.getType());
    for (unsigned i = 0; i < numResults; ++i) {
      Value *one = registers.lookup("$" + std::to_string(i));
      if (!one)
        return nullptr;
      all = builder.CreateInsertValue(all, one, i);
    }
    return all;
  }

  bool lowerLine(StringRef line) {
    auto [name, rest] = line.split(' ');
    if (name.starts_with("wgmma.mma_async."))
      return multiply(name, rest);
    SmallString<256> packed = packedOf(rest);
    SmallVector<StringRef> operands;
    splitOperands(packed, operands);
    if (name == "mov.b64" && operands.size() == 2)
      return move(operands[0], operands[1]);
    SmallVector<Value *> values;
    for (StringRef operand : drop_begin(operands)) {
      values.push_back(read(operand));
      if (!values.back())
        return false;
    }
    Value *value = compute(name, values);
    registers[operands[0]] = value;
    return value;
  }

  /// Splits at commas that are not in braces.
  static void splitOperands(StringRef text, SmallVectorImpl<StringRef> &operands) {
    int depth = 0;
    size_t begin = 0;
    for (size_t i = 0; i <= text.size(); ++i) {
      char c = i < text.size() ? text[i] : ',';
      depth += (c == '{') - (c == '}');
      if (c != ',' || (depth && i < text.size()))
        continue;
      operands.push_back(text.slice(begin, i));
      begin = i + 1;
    }
  }

  Value *read(StringRef operand) {
    int64_t number;
    if (!operand.getAsInteger(10, number))
      return builder.getInt32(uint32_t(number));
    return registers.lookup(operand);
  }

  /// {sums}, left, right, adds, signs and layouts
  bool multiply(StringRef name, StringRef rest) {
    SmallString<256> packed = packedOf(rest);
    SmallVector<StringRef> operands, outputs, inputs;
    splitOperands(packed, operands);
    if (operands.size() < 4)
      return false;
    operands[0].trim("{}").split(outputs, ',');
    bool hasLeft = operands[1].consume_front("{");
    operands[1].trim("{}").split(inputs, ',');
    SmallVector<Value *> sums, left, numbers;
    for (StringRef output : outputs)
      sums.push_back(read(output));
    for (StringRef input : inputs)
      left.push_back(read(input));
    for (StringRef operand : drop_begin(operands, 2))
      numbers.push_back(read(operand));
    if (is_contained(sums, nullptr) || is_contained(left, nullptr) ||
        is_contained(numbers, nullptr))
      return false;
    Product product{sums, {}, nullptr, numbers[0], numbers[1], ArrayRef(numbers).drop_front(2)};
    if (hasLeft)
      product.left = left;
    else
      product.leftDescriptor = left[0];
    SmallVector<Value *> results(outputs.size());
    if (!lowerProduct(target, call, name, product, results))
      return false;
    for (auto [output, result] : zip_equal(outputs, results))
      registers[output] = result;
    return true;
  }

  static SmallString<256> packedOf(StringRef text) {
    SmallString<256> packed;
    for (char c : text)
      if (!isSpace(c))
        packed += c;
    return packed;
  }

  /// {low, high} of 64 bits, in either direction.
  bool move(StringRef to, StringRef from) {
    auto halves = [](StringRef pair) { return pair.trim("{}").split(','); };
    if (to.starts_with("{")) {
      Value *value = read(from);
      if (!value)
        return false;
      auto [low, high] = halves(to);
      registers[low] = builder.CreateTrunc(value, builder.getInt32Ty());
      registers[high] = builder.CreateTrunc(builder.CreateLShr(value, 32), builder.getInt32Ty());
      return true;
    }
    auto [low, high] = halves(from);
    Value *lowValue = read(low), *highValue = read(high);
    if (!lowValue || !highValue)
      return false;
    registers[to] = wide(lowValue, highValue);
    return true;
  }

  Value *wide(Value *low, Value *high) {
    Type *type = builder.getInt64Ty();
    return builder.CreateOr(builder.CreateZExt(low, type),
                            builder.CreateShl(builder.CreateZExt(high, type), 32));
  }

  Value *compute(StringRef name, ArrayRef<Value *> values) {
    StringRef whole = name;
    if (name.consume_back(".u32") && values.size() >= 2)
      return integers(name, values);
    if (whole == "setp.ne.b32")
      return builder.CreateICmpNE(values[0], values[1]);
    if (whole == "setp.equ.f64")
      return builder.CreateFCmpUEQ(values[0], values[1]);
    if (whole == "selp.f64" && values.size() == 3)
      return builder.CreateSelect(values[2], values[0], values[1]);
    if (whole.starts_with("sub.rn.") && values.size() == 2 && !whole.contains("ftz"))
      return builder.CreateFSub(values[0], values[1]);
    // Its intrinsic says f and d for the types.
    StringRef base = whole;
    if (base.consume_back(".f32"))
      return lowerArithmetic(target, call, (base + ".f").str(), values);
    if (base.consume_back(".f64"))
      return lowerArithmetic(target, call, (base + ".d").str(), values);
    return nullptr;
  }

  /// add, sub, mul and mad on 32 bits; `c` behind the name takes the carry, .cc sets it.
  Value *integers(StringRef name, ArrayRef<Value *> values) {
    Type *twice = builder.getInt64Ty();
    auto extend = [&](Value *value) { return builder.CreateZExt(value, twice); };
    bool sets = name.consume_back(".cc");
    auto [operation, half] = name.split('.');
    bool takes = operation == "addc" || operation == "subc" || operation == "madc";
    Value *sum;
    if (operation.starts_with("add")) {
      sum = builder.CreateAdd(extend(values[0]), extend(values[1]));
    } else if (operation.starts_with("sub")) {
      sum = builder.CreateSub(extend(values[0]), extend(values[1]));
    } else if (operation.starts_with("mul") || operation.starts_with("mad")) {
      sum = builder.CreateMul(extend(values[0]), extend(values[1]));
      sum = half == "hi" ? builder.CreateLShr(sum, 32)
                         : builder.CreateAnd(sum, builder.getInt64(~0u));
      if (values.size() == 3)
        sum = builder.CreateAdd(sum, extend(values[2]));
    } else {
      return nullptr;
    }
    if (takes)
      sum = operation == "subc" ? builder.CreateSub(sum, extend(carry))
                                : builder.CreateAdd(sum, extend(carry));
    if (sets)
      carry = builder.CreateTrunc(builder.CreateAnd(builder.CreateLShr(sum, 32), 1),
                                  builder.getInt32Ty());
    return builder.CreateTrunc(sum, builder.getInt32Ty());
  }

  Target &target;
  CallInst &call;
  IRBuilder<> builder;
  Value *carry;
  unsigned numResults;
  StringMap<Value *> registers;
};

} // namespace

Value *cleave::simt::lowerAssembly(Target &target, CallInst &call, StringRef text) {
  if (Value *value = lowerAsyncAssembly(target, call, text))
    return value;
  return Assembly(target, call).lower(text);
}
