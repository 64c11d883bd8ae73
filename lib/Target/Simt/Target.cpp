//===- Target.cpp - calls into the simulator, and where they stand --------===//

#include "Retarget.h"

#include "llvm/IR/DebugInfoMetadata.h"
#include "llvm/IR/Module.h"

using namespace llvm;
using namespace cleave::simt;

static GlobalVariable *variable(Module &module, Type *type, StringRef name) {
  return new GlobalVariable(module, type, /*isConstant=*/false, GlobalValue::InternalLinkage,
                            Constant::getNullValue(type), name);
}

Target::Target(Module &module)
    : module(module), context(module.getContext()),
      slots(&module, /*ShouldInitializeAllMetadata=*/false) {
  for (GlobalVariable &global : module.globals())
    if (global.isConstant() && !global.isDeclaration())
      constants.push_back(&global);
  auto *pointer = PointerType::getUnqual(context);
  auto *word = Type::getInt32Ty(context);
  functions = variable(module, ArrayType::get(pointer, CLEAVE_SIMT_NUM_FUNCTIONS), "functions");
  shared = variable(module, pointer, "shared");
  dynamicShared = variable(module, pointer, "dynamic_shared");
  siteType = StructType::get(context, {pointer, pointer, word, word, word, word, pointer});
}

CallInst *Target::call(IRBuilderBase &builder, cleave_simt_function function, Type *result,
                       ArrayRef<Value *> arguments) {
  SmallVector<Type *> types;
  for (Value *argument : arguments)
    types.push_back(argument->getType());
  auto *pointer = builder.getPtrTy();
  Value *callee =
      builder.CreateLoad(pointer, builder.CreateConstInBoundsGEP2_32(
                                      functions->getValueType(), functions, 0, unsigned(function)));
  CallInst *call =
      builder.CreateCall(FunctionType::get(result, types, /*isVarArg=*/false), callee, arguments);
  call->addFnAttr(Attribute::NoUnwind);
  // Threads meet here: a copy of the call would be another place.
  call->addFnAttr(Attribute::Convergent);
  call->addFnAttr(Attribute::NoDuplicate);
  call->addFnAttr(Attribute::NoMerge);
  return call;
}

AllocaInst *Target::room(IRBuilderBase &builder, Type *type) {
  Function *function = builder.GetInsertBlock()->getParent();
  BasicBlock &entry = function->getEntryBlock();
  IRBuilder<> there(&entry, entry.begin());
  return there.CreateAlloca(type);
}

Constant *Target::text(StringRef text) {
  Constant *&known = texts[text];
  if (!known) {
    auto *bytes = ConstantDataArray::getString(context, text);
    auto *global = new GlobalVariable(module, bytes->getType(), /*isConstant=*/true,
                                      GlobalValue::PrivateLinkage, bytes, "text");
    global->setUnnamedAddr(GlobalValue::UnnamedAddr::Global);
    known = global;
  }
  return known;
}

Constant *Target::table(StructType *type, ArrayRef<Constant *> elements) {
  if (elements.empty())
    return ConstantPointerNull::get(PointerType::getUnqual(context));
  auto *array = ArrayType::get(type, elements.size());
  return new GlobalVariable(module, array, /*isConstant=*/true, GlobalValue::PrivateLinkage,
                            ConstantArray::get(array, elements), "table");
}

/// Where an instruction stands: its line, else its own words.
static std::string placeOf(const Instruction &instruction, ModuleSlotTracker &slots,
                           const Function *&incorporated) {
  if (const DebugLoc &loc = instruction.getDebugLoc())
    return (loc->getFilename() + ":" + Twine(loc.getLine())).str();
  if (incorporated != instruction.getFunction()) {
    incorporated = instruction.getFunction();
    slots.incorporateFunction(*incorporated);
  }
  std::string words;
  raw_string_ostream out(words);
  instruction.print(out, slots);
  StringRef text =
      StringRef(words).take_until([](char c) { return c == '!' || c == '#'; }).trim(" ,");
  // Assembly may go on for pages.
  constexpr size_t enough = 160;
  return text.size() > enough ? (text.take_front(enough) + "...").str() : text.str();
}

Constant *Target::site(const Instruction &instruction, StringRef what, const Access &access) {
  auto *word = Type::getInt32Ty(context);
  Constant *fields[] = {text(what),
                        text(placeOf(instruction, slots, incorporated)),
                        ConstantInt::get(word, access.bytes),
                        ConstantInt::get(word, access.align),
                        ConstantInt::get(word, access.space),
                        ConstantInt::get(word, access.aligned),
                        ConstantPointerNull::get(PointerType::getUnqual(context))};
  return new GlobalVariable(module, siteType, /*isConstant=*/false, GlobalValue::PrivateLinkage,
                            ConstantStruct::get(siteType, fields), "site");
}

Error cleave::simt::unknown(const Instruction &instruction, const Twine &what) {
  const Function &function = *instruction.getFunction();
  bool kernel = function.getCallingConv() == CallingConv::PTX_Kernel;
  return createStringError((kernel ? "kernel \"" : "function \"") + function.getName() +
                           "\": the simulator does not know " + what);
}
