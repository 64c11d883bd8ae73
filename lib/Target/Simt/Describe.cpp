//===- Describe.cpp - the table of an image -------------------------------===//

#include "Retarget.h"

#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace cleave::simt;

/// void entry(void *const *arguments): one thread of the kernel.
static Function *addEntry(Target &target, Function &kernel) {
  auto *pointer = PointerType::getUnqual(target.context);
  auto *type = FunctionType::get(Type::getVoidTy(target.context), {pointer}, false);
  auto *entry = Function::Create(type, GlobalValue::InternalLinkage, kernel.getName() + ".entry",
                                 target.module);
  IRBuilder<> builder(BasicBlock::Create(target.context, "", entry));
  std::vector<Value *> arguments;
  for (Argument &argument : kernel.args()) {
    Value *address = builder.CreateLoad(
        pointer, builder.CreateConstGEP1_64(pointer, entry->getArg(0), argument.getArgNo()));
    if (!argument.hasByValAttr()) {
      arguments.push_back(builder.CreateLoad(argument.getType(), address));
      continue;
    }
    // What is no constant of the grid has an address in each thread's own frame.
    if (!argument.hasAttribute("nvvm.grid_constant")) {
      Type *type = argument.getParamByValType();
      AllocaInst *own = builder.CreateAlloca(type);
      own->setAlignment(argument.getParamAlign().valueOrOne());
      builder.CreateMemCpy(own, own->getAlign(), address, Align(1),
                           target.module.getDataLayout().getTypeAllocSize(type));
      address = own;
    }
    arguments.push_back(builder.CreateAddrSpaceCast(address, argument.getType()));
  }
  builder.CreateCall(&kernel, arguments);
  builder.CreateRetVoid();
  return entry;
}

/// The threads of a block that a kernel is made for; 0 where any number will do.
static uint64_t maxThreads(const Function &kernel) {
  for (StringRef name : {"nvvm.reqntid", "nvvm.maxntid"}) {
    Attribute attribute = kernel.getFnAttribute(name);
    if (!attribute.isValid())
      continue;
    uint64_t threads = 1, extent;
    for (StringRef part : split(attribute.getValueAsString(), ','))
      if (!part.trim().getAsInteger(10, extent))
        threads *= extent;
    return threads;
  }
  return 0;
}

namespace {

class Description {
public:
  explicit Description(Target &target)
      : target(target), pointer(PointerType::getUnqual(target.context)),
        word(Type::getInt32Ty(target.context)) {}

  void emit(ArrayRef<Kernel> kernels) {
    auto *kernelType = StructType::get(
        target.context, {pointer, pointer, pointer, pointer, word, word, word, word, word});
    std::vector<Constant *> described, constants = describeConstants();
    for (const Kernel &kernel : kernels)
      described.push_back(describe(kernel, kernelType));
    // As in sm_90a, whose last letter is for what no other chip has.
    StringRef name;
    unsigned chip = 0;
    if (!kernels.empty())
      name = kernels.front().function->getFnAttribute("target-cpu").getValueAsString();
    if (name.consume_front("sm_"))
      name.consumeInteger(10, chip);
    Constant *fields[] = {number(CLEAVE_SIMT_MAGIC),
                          number(CLEAVE_SIMT_VERSION),
                          number(CLEAVE_SIMT_NUM_FUNCTIONS),
                          number(described.size()),
                          number(constants.size()),
                          number(chip),
                          number(!name.empty()),
                          number(0),
                          target.functions,
                          target.shared,
                          target.dynamicShared,
                          target.table(kernelType, described),
                          target.table(variableType(), constants)};
    auto *image = ConstantStruct::getAnon(fields);
    new GlobalVariable(target.module, image->getType(), /*isConstant=*/true,
                       GlobalValue::ExternalLinkage, image, CLEAVE_SIMT_SYMBOL);
  }

private:
  Constant *number(uint64_t value) { return ConstantInt::get(word, value); }
  StructType *variableType() {
    return StructType::get(target.context, {pointer, pointer, word, word});
  }

  Constant *describe(const Kernel &kernel, StructType *type) {
    Function &function = *kernel.function;
    std::vector<uint32_t> sizes;
    const DataLayout &layout = target.module.getDataLayout();
    for (Argument &argument : function.args()) {
      Type *passed = argument.hasByValAttr() ? argument.getParamByValType() : argument.getType();
      sizes.push_back(uint32_t(layout.getTypeAllocSize(passed)));
    }
    Constant *sizesData = ConstantDataArray::get(target.context, sizes);
    auto *sizesTable = new GlobalVariable(target.module, sizesData->getType(), /*isConstant=*/true,
                                          GlobalValue::PrivateLinkage, sizesData, "sizes");
    Constant *fields[] = {target.text(function.getName()),
                          addEntry(target, function),
                          sizesTable,
                          target.table(variableType(), kernel.variables),
                          number(sizes.size()),
                          number(kernel.variables.size()),
                          number(kernel.sharedBytes),
                          number(kernel.dynamicAlign),
                          number(maxThreads(function))};
    return ConstantStruct::get(type, fields);
  }

  std::vector<Constant *> describeConstants() {
    std::vector<Constant *> described;
    const DataLayout &layout = target.module.getDataLayout();
    for (GlobalVariable *global : target.constants)
      described.push_back(ConstantStruct::get(
          variableType(), {target.text(global->getName()),
                           ConstantExpr::getPointerBitCastOrAddrSpaceCast(global, pointer),
                           number(0), number(layout.getTypeAllocSize(global->getValueType()))}));
    return described;
  }

  Target &target;
  PointerType *pointer;
  IntegerType *word;
};

} // namespace

void cleave::simt::describe(Target &target, ArrayRef<Kernel> kernels) {
  Description(target).emit(kernels);
}
