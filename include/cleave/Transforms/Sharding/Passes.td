//===- Passes.td - sharding passes, in the order they run -----*- tablegen -*-===//

#ifndef CLEAVE_TRANSFORMS_SHARDING_PASSES
#define CLEAVE_TRANSFORMS_SHARDING_PASSES

include "mlir/Pass/PassBase.td"

def PrintRules : Pass<"shard-print-rules", "::mlir::func::FuncOp"> {
  let summary = "says the sharding rule of every op, as a remark";
  let description = [{
    A rule is printed as its factors; `0[1]` is dimension 1 of operand 0, results
    count on from the operands, and `0[1]:4x2.0` is factor 0 of a dimension read
    as (4, 2). It changes nothing.
  }];
}

def PrintNames : Pass<"shard-print-names", "::mlir::func::FuncOp"> {
  let summary = "says how the dimensions of every result are named, as a remark";
  let description = [{
    A name is `n<number>`, numbered in the order of appearance; products are
    written `n0*n1`, concatenations `(n0 | n1)`, sizes of 0 and 1 as they are.
    It changes nothing.
  }];
}

def Search : Pass<"shard-search", "::mlir::ModuleOp"> {
  let summary = "decides how every value is cut over a mesh";
  let description = [{
    The exact minimum of a sum of tables: an op chooses a factor of its rule for
    each axis, a value with several readers the state in which it is kept, and
    moving between states costs collectives. The name of an axis is its intent:
    `tp` and `ep` pay for the weights that a rank holds, so they cut them; `dp`,
    `sp` and `cp` never cut weights; any other name cuts nothing.

    The decision stands on the ops afterwards: `dist.operands` and `dist.results`
    are the shardings that the op takes and gives, `dist.held` those in which its
    results are kept for their readers (on arguments too), and the module has
    `dist.mesh`, for every weight how it is cut, `dist.weights`, and the names of
    dimensions that are cut, `dist.cuts`.

    An axis that cuts nothing is a warning, which says why and what would help. `pp`
    cuts no dimension; `shard-pipeline` makes stages of its ranks.
  }];
  let options = [
    Option<"mesh", "mesh", "std::string", /*default=*/"",
           "named axes and their sizes, the first outermost: dp=2,tp=4">,
    Option<"strict", "strict", "bool", /*default=*/"false",
           "an axis that cuts nothing is an error">,
    Option<"microBatches", "micro-batches", "int64_t", /*default=*/"1",
           "parts of the batch, which follow each other: an axis of the mesh, outermost">,
    Option<"pinned", "pinned", "bool", /*default=*/"false",
           "cut weights as `dist.weights` of the module says, from a search at other sizes">
  ];
  let dependentDialects = ["::cleave::dist::DistDialect"];
}

def Localize : Pass<"shard-localize", "::mlir::ModuleOp"> {
  let summary = "one program a class of ranks, with local shapes and collectives";
  let description = [{
    Carries out what `shard-search` decided. Arguments stay whole, and a rank
    takes its part with `dist.slice`; results are whole on every rank. Ranks with
    equal local shapes share a function: `@main` where all do, else `@main_0`,
    `@main_1` … with the class of each rank in `dist.classes` of the module.
  }];
  let dependentDialects = ["::cleave::dist::DistDialect", "::cleave::nn::NnDialect"];
}

def Pipeline : Pass<"shard-pipeline", "::mlir::ModuleOp"> {
  let summary = "stages, and micro-batches through them";
  let description = [{
    Of a module that `shard-localize` made over a mesh with an axis `pp`, or with
    micro-batches: cuts the functions into chunks of neighbouring ops where that is
    balanced and cheap by the times of one CPU core, gives chunk c to stage c mod pp,
    and writes what each stage computes of each micro-batch, in the order of a
    schedule, one function a class of ranks of a stage. Results carry `dist.part`; the
    module gets `dist.stages` and `dist.schedule`. It changes no other module.
  }];
  let options = [
    Option<"virtualStages", "virtual-stages", "int64_t", /*default=*/"1",
           "chunks a stage: more make a pipeline fill faster, and send more">,
    Option<"strict", "strict", "bool", /*default=*/"false",
           "a stage that has nothing to do is an error">
  ];
  let dependentDialects = ["::cleave::dist::DistDialect", "::cleave::nn::NnDialect"];
}

def Overlap : Pass<"shard-overlap", "::mlir::ModuleOp"> {
  let summary = "large products are computed in parts, beside the collectives of others";
  let description = [{
    Of products whose partial sums are reduced, or scattered along another dimension
    than their last. A part is some columns, so that all parts share one kernel, and
    each fills the machine. Where all from a gather to such a scatter keeps rows apart,
    a part is some rows of every rank, and has a gather of its own too. How many there
    are follows from the times of the machine; nothing is cut where that gains less than
    a tenth.
  }];
  let options = [
    Option<"parts", "parts", "int64_t", /*default=*/"0",
           "of each product whose columns, or rows of a rank, it divides; 0: as the machine says">
  ];
  let dependentDialects = ["::cleave::dist::DistDialect", "::cleave::nn::NnDialect"];
}

def OneShot : Pass<"shard-one-shot", "::mlir::ModuleOp"> {
  let summary = "small all-reduces gather the partial values, and their reader adds them";
  let description = [{
    Of sums of floats over at most 8 ranks that one elementwise op or norm reads,
    where the machine gathers the partial values of all faster than it reduces them.
    The sum is in member order and rounds once, so its bits are those of the
    all_reduce, whichever library gathers.
  }];
  let dependentDialects = ["::cleave::dist::DistDialect", "::cleave::nn::NnDialect"];
}

def PrintExplanation : Pass<"shard-print-explanation", "::mlir::ModuleOp"> {
  let summary = "says what travels, why, and what each rank holds";
  let description = [{
    Of a module that `shard-localize` made, as `cleave explain` does, to the
    standard output. It changes nothing.
  }];
  let options = [
    Option<"json", "json", "bool", /*default=*/"false", "one object instead of text">
  ];
}

#endif // CLEAVE_TRANSFORMS_SHARDING_PASSES
