//===- Passes.td - kernel passes, in the order they run -------*- tablegen -*-===//

include "mlir/Pass/PassBase.td"

def MakeContiguous : Pass<"kernel-make-contiguous", "::mlir::ModuleOp"> {
  let summary = "collectives act on the outermost dimension";
  let description = [{
    Communicators move contiguous blocks. A gather or scatter along an inner
    dimension is done along the outermost one between two transposes, which fuse
    into the kernels around it. An all_to_all becomes an exchange of blocks between
    movements that pack what goes to each member and put in order what comes.
  }];
  let dependentDialects = ["::cleave::dist::DistDialect", "::cleave::nn::NnDialect"];
}

def SplitLoad : Pass<"kernel-split-load", "::mlir::ModuleOp"> {
  let summary = "what depends on weights alone is computed once, when a session is created";
  let description = [{
    Every function of a rank class is split in two: `@f` keeps what depends on
    the inputs, `@f_load` computes from weights and constants what `@f` needs,
    and gives it to trailing arguments of `@f`, marked `rt.param`.

    A weight that `@f` uses as it lies in the file, or under another shape, is
    read from the mapped file. A broadcast stays in `@f`: it costs nothing there
    and memory as a parameter. So does what makes weights larger, as bytes that are
    dequantised: `@f` is given the bytes.
  }];
  let dependentDialects = ["::cleave::rt::RtDialect"];
}

def PackWeights : Pass<"kernel-pack-weights", "::mlir::ModuleOp"> {
  let summary = "weights of products lie in panels, as the innermost loop reads them";
  let description = [{
    A right operand [K, N] that is known at load becomes [N/NR, K, NR] with N
    padded to a multiple of NR: one linear stream for the micro-kernel. The load
    function packs by reshapes and a transpose, main undoes it in front of the
    product, so what the product computes stays said in full; a target reads
    through both.

    NR is the largest of `max-vectors`, … 1 times `lanes` that pads N least.

    With `byte-dots` weights of i8 that only products of ui8 read become
    [N/NR, K/4, NR, 4], K being a multiple of 4: a dot product of bytes adds up four
    neighbours of K.

    With `turn-bytes` only right operands of 8-bit integers and floats are packed, as
    [N, K], where tensor cores want them.
  }];
  let options = [
    Option<"turnBytes", "turn-bytes", "bool", "false", "turn weights of 8 bits, and only those">,
    Option<"byteDots", "byte-dots", "bool", "false", "lay bytes for dot products of four">,
    Option<"lanes", "lanes", "int64_t", "16", "f32 elements of a vector register">,
    Option<"maxVectors", "max-vectors", "int64_t", "3", "vectors of a panel's row">
  ];
}

def Fuse : Pass<"kernel-fuse", "::mlir::ModuleOp"> {
  let summary = "nn ops become kernels, and kernels launches";
  let description = [{
    A kernel is a region of nn ops with at most one root: contraction, row
    reduction, attention, window, scatter. Elementwise chains follow the root
    whose result they take, or lead to the only kernel that uses them; movement
    leads. What is left forms kernels of its own. A reshape between kernels
    stays where it is and costs nothing.

    Kernels of equal body are one function, so a model of many equal layers has
    as many kernels as one of them.
  }];
  let options = [
    Option<"alignment", "alignment", "int64_t", /*default=*/"1",
           "bytes of which the place of a view is a multiple: others are computed">
  ];
  let dependentDialects = ["::cleave::rt::RtDialect"];
}

def PlanMemory : Pass<"kernel-plan-memory", "::mlir::ModuleOp"> {
  let summary = "every value gets a place";
  let description = [{
    Results that leave the model are written where they belong. All others share
    one block, the arena, by liveness: the largest first, each at the lowest
    offset that is free while it lives. Offsets are multiples of 64 bytes.
    Parameters lie one behind the other. Counters, which kernels may want beside
    scratch, lie in front of all else and share their place with nothing.

    A value that leaves twice, or that no command of this function makes, is
    copied.
  }];
  let options = [
    Option<"areBeside", "beside", "bool", /*default=*/"false",
           "collectives run beside commands that touch nothing of theirs, and keep what they "
           "read until their results are read">
  ];
  let dependentDialects = ["::cleave::rt::RtDialect"];
}
