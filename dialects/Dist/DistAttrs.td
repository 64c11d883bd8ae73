//===- DistAttrs.td - meshes, and how a tensor is cut ---------*- tablegen -*-===//
//
// An axis is named by a string: "tp" is a whole axis of the mesh, "tp:(2)4" is
// the part of size 4 of it that has a part of size 2 outside (a sub-axis): rank
// coordinate c on "tp" has coordinate c / (size / 8) % 4 there.
//
// A list of axes makes groups: ranks that agree on everything else. A rank's
// member number in its group is row-major over the list, the first outermost.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_DIST_ATTRS
#define CLEAVE_DIST_ATTRS

include "DistDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

class Dist_Attr<string name, string attrMnemonic>
    : AttrDef<Dist_Dialect, name> {
  let mnemonic = attrMnemonic;
}

def Dist_MeshAttr : Dist_Attr<"Mesh", "mesh"> {
  let summary = "named axes; ranks count row-major, the first axis outermost";
  let description = [{
    Stands on a module as `dist.mesh`.

    Constraints:
    - (C1) every axis has a name of its own, and a size of 1 or more.

    Example: `#dist.mesh<"dp"=2, "tp"=4>`, whose rank 5 has dp 1 and tp 1.
  }];
  let parameters = (ins ArrayRefParameter<"::mlir::StringAttr">:$names,
                        ArrayRefParameter<"int64_t">:$sizes);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Number of ranks.
    int64_t getNumRanks() const;
    /// Number of ranks in a group over `axes`; nothing if an axis is not of this mesh.
    std::optional<int64_t> getGroupSize(::llvm::ArrayRef<::mlir::StringAttr> axes) const;
    /// Member number of `rank` in its group over `axes`.
    int64_t getMember(::llvm::ArrayRef<::mlir::StringAttr> axes, int64_t rank) const;
    /// The groups over `axes`, each a list of ranks by member number.
    ::llvm::SmallVector<::llvm::SmallVector<int64_t>>
    getGroups(::llvm::ArrayRef<::mlir::StringAttr> axes) const;
    /// Coordinate of `rank` on each axis.
    ::llvm::SmallVector<int64_t> getCoordinates(int64_t rank) const;
  }];
}

def Dist_ExtentAttr : Dist_Attr<"Extent", "extent"> {
  let summary = "how one dimension is built and where it is cut";
  let description = [{
    One of
    - `16`: a run of 16 indices; `16 over "tp"`: each member of a group over "tp" holds
      a part of it, `16 over ["dp", "tp"]` a part over "tp" of its part over "dp";
    - `4 over "tp" * 16`: a product, major to minor: here four blocks of 16;
    - `(4 over "tp" * 16 | 2 over "tp" * 16 | 32)`: a concatenation of segments.

    Parts are given by ceil: of n indices over p members, member m holds the
    ones from m⌈n/p⌉ on, ⌈n/p⌉ or what is left, perhaps none. What a rank holds
    of a dimension is what it holds of its factors or segments, in their order:
    a cut of an inner factor is a strided cut of the dimension.
  }];
  let parameters = (ins "int64_t":$size, ArrayRefParameter<"::mlir::StringAttr">:$axes,
                        "bool":$isConcat, ArrayRefParameter<"ExtentAttr">:$parts);
  let hasCustomAssemblyFormat = 1;
  let builders = [
    AttrBuilder<(ins "int64_t":$size, CArg<"::llvm::ArrayRef<::mlir::StringAttr>", "{}">:$axes), [{
      return $_get($_ctxt, size, axes, false, ::llvm::ArrayRef<ExtentAttr>());
    }]>,
    AttrBuilder<(ins "bool":$isConcat, "::llvm::ArrayRef<ExtentAttr>":$parts), [{
      if (parts.size() == 1)
        return parts.front();
      int64_t size = isConcat ? 0 : 1;
      for (ExtentAttr part : parts)
        size = isConcat ? size + part.getSize() : size * part.getSize();
      return $_get($_ctxt, size, ::llvm::ArrayRef<::mlir::StringAttr>(), isConcat, parts);
    }]>
  ];
  let extraClassDeclaration = [{
    bool isLeaf() const { return getParts().empty(); }
    bool isProduct() const { return !isLeaf() && !getIsConcat(); }
    /// Whether any part of it is cut.
    bool isCut() const;
    /// How many indices `rank` holds.
    int64_t getLocalSize(MeshAttr mesh, int64_t rank) const;
    /// Which indices `rank` holds, in the order in which it holds them.
    ::llvm::SmallVector<int64_t> getLocalIndices(MeshAttr mesh, int64_t rank) const;
    /// Equal cuts have equal normal forms: nested products and concatenations
    /// opened, neighbours that are not cut merged, and sub-axes of `mesh` joined.
    ExtentAttr getNormalized(MeshAttr mesh = {}) const;
    /// Appends the extent without the brackets that an attribute has around it.
    void printBare(::llvm::raw_ostream &os) const;
  }];
}

def Dist_ShardingAttr : Dist_Attr<"Sharding", "sharding"> {
  let summary = "what each rank holds of a tensor";
  let description = [{
    An extent a dimension. `partial over "tp"`: the tensor is the sum of what the
    members of a group over "tp" hold.

    Example: `#dist.sharding<[2, 8, 4 over "tp" * 16], partial over "dp">`
  }];
  let parameters = (ins ArrayRefParameter<"ExtentAttr">:$dims,
                        ArrayRefParameter<"::mlir::StringAttr">:$partial);
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    /// Whole and equal on every rank.
    bool isReplicated() const;
    ::llvm::SmallVector<int64_t> getLocalShape(MeshAttr mesh, int64_t rank) const;
    ShardingAttr getNormalized(MeshAttr mesh = {}) const;
    /// The sharding of a tensor of `shape` that every rank holds whole.
    static ShardingAttr getReplicated(::mlir::MLIRContext *context,
                                      ::llvm::ArrayRef<int64_t> shape);
    /// `[2, 8 over "tp"]`, for reports.
    std::string str() const;
  }];
}

def Dist_PartAttr : Dist_Attr<"Part", "part"> {
  let summary = "which part of an output a result is";
  let description = [{
    Stands on a result as `dist.part`, where a function makes some outputs only, or
    makes one in several parts: this one begins at index `begin` of the outermost
    dimension of output number `output`, which is of type `whole`.

    Example: `#dist.part<0 at 2 of tensor<4x8xf32>>`
  }];
  let parameters = (ins "int64_t":$output, "int64_t":$begin, "::mlir::RankedTensorType":$whole);
  let assemblyFormat = "`<` $output `at` $begin `of` $whole `>`";
}

def Dist_BlockAttr : Dist_Attr<"Block", "block"> {
  let summary = "when a stage computes a chunk of the model for a micro-batch";
  let description = [{
    A list of them on the module, `dist.schedule`, is the schedule of a pipeline:
    the blocks of each stage in their order, with the times that the cost model
    predicts, in nanoseconds since the beginning of a run.

    Example: `#dist.block<stage 1 chunk 1 micro 0 from 1200 to 2500>`
  }];
  let parameters = (ins "int64_t":$stage, "int64_t":$chunk, "int64_t":$micro, "int64_t":$begin,
                        "int64_t":$end);
  let assemblyFormat = "`<` `stage` $stage `chunk` $chunk `micro` $micro `from` $begin `to` $end `>`";
}

#endif // CLEAVE_DIST_ATTRS
