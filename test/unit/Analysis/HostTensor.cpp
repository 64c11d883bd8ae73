//===- HostTensor.cpp - numbers become elements and bytes -----------------===//

#include "cleave/Analysis/Evaluate.h"

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/MLIRContext.h"

#include "llvm/ADT/APFloat.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <rapidcheck.h>

using namespace mlir;
using namespace cleave;

static MLIRContext context;

static std::vector<FloatType> types() {
  return {Float16Type::get(&context),      BFloat16Type::get(&context),
          Float32Type::get(&context),      Float64Type::get(&context),
          Float8E4M3FNType::get(&context), Float8E5M2Type::get(&context)};
}

/// Both ways out of a tensor give what LLVM's own rounding gives.
static void expectRounded(double value) {
  for (FloatType type : types()) {
    llvm::APFloat want(value);
    bool lossy;
    want.convert(type.getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &lossy);
    uint64_t wanted = want.bitcastToAPInt().getZExtValue(), bits = 0;
    HostTensor tensor(RankedTensorType::get({1}, type));
    tensor.floats[0] = value;
    std::vector<char> bytes = tensor.toBytes();
    std::memcpy(&bits, bytes.data(), bytes.size());
    EXPECT_EQ(bits, wanted) << value << " to " << type.getWidth() << " bits";
    tensor.round();
    want.convert(llvm::APFloat::IEEEdouble(), llvm::APFloat::rmNearestTiesToEven, &lossy);
    // The 8 bits of some types know no infinity.
    if (want.isNaN())
      EXPECT_TRUE(std::isnan(tensor.floats[0])) << value;
    else
      EXPECT_EQ(tensor.floats[0], want.convertToDouble()) << value;
  }
}

/// At and beside the numbers that a type has, and half way between them.
TEST(HostTensor, RoundsEdges) {
  for (double value : {0.0,
                       -0.0,
                       65504.0,
                       65519.999,
                       65520.0,
                       3.38e38,
                       3.4028235e38,
                       3.4028236e38,
                       448.0,
                       464.0,
                       57344.0,
                       0x1p-14,
                       0x1.ffep-15,
                       0x1p-24,
                       0x1p-25,
                       0x1p-126,
                       0x1.fffffep-127,
                       0x1p-133,
                       0x1p-149,
                       0x1p-150,
                       0x1p-1074,
                       std::numeric_limits<double>::infinity(),
                       -1.0 / 0.0,
                       std::numeric_limits<double>::quiet_NaN()})
    expectRounded(value);
}

TEST(HostTensor, RoundsAsLlvm) {
  EXPECT_TRUE(rc::check("drawn numbers", [] {
    const int exponent = *rc::gen::inRange(-160, 140);
    // Few bits, so that ties are drawn too.
    const int bits = *rc::gen::inRange(1, 53);
    const int64_t mantissa = *rc::gen::arbitrary<int64_t>() >> (63 - bits);
    expectRounded(std::ldexp(double(mantissa), exponent - bits));
    RC_ASSERT(!testing::Test::HasFailure());
  }));
}
