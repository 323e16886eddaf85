# As much of nixpkgs' module system as nix/module.nix and its check use: options with types, defaults and submodules,
# `mkIf`; definitions of options of a type that can be merged are merged, others may be given once.
lib:
let
  inherit (builtins) all attrNames concatLists elem filter head isAttrs isBool isInt isList isPath isString length map mapAttrs;
  show = path: builtins.concatStringsSep "." path;
  fail = path: text: throw "The option `${show path}': ${text}";

  simple = name: check: {
    inherit name check;
    merge =
      path: values:
      let
        bad = filter (value: !(check value)) values;
      in
      if bad != [ ] then
        fail path "is not of type `${name}'"
      else if length values == 1 || all (value: value == head values) values then
        head values
      else
        fail path "has conflicting definition values";
  };

  isOption = item: isAttrs item && (item._type or "") == "option";
  isIf = item: isAttrs item && (item._type or "") == "if";

  # Conditions are drawn to the leaves, so that a configuration may depend on itself.
  push =
    condition: item:
    if isIf item then
      push (if condition then item.condition else false) item.content
    else
      { inherit condition; content = item; };
  # The definitions of one attribute, with their conditions.
  below =
    name: definitions:
    concatLists (
      map (
        definition:
        if definition.content ? ${name} then [ (push definition.condition definition.content.${name}) ] else [ ]
      ) definitions
    );

  # The values of a tree of options, given all definitions of it.
  evaluate =
    path: options: definitions:
    let
      names = concatLists (map (definition: attrNames definition.content) definitions);
      unknown = filter (name: !(options ? ${name})) names;
    in
    if unknown != [ ] then
      throw "The option `${show (path ++ [ (head unknown) ])}' does not exist"
    else
      mapAttrs (
        name: option:
        let
          here = path ++ [ name ];
          found = below name definitions;
          values = map (definition: definition.content) (filter (definition: definition.condition) found);
        in
        if !(isOption option) then
          evaluate here option found
        else if values != [ ] then
          option.type.merge here values
        else if option ? default then
          # Submodules in a default have defaults of their own.
          option.type.merge here [ option.default ]
        else if option.type ? emptyValue then
          option.type.emptyValue
        else
          fail here "is used but not defined"
      ) options;

  call = arguments: module: if builtins.isFunction module then module arguments else if isPath module then call arguments (import module) else module;
  optionsOf = list: builtins.foldl' merged { } (map (module: module.options or { }) list);
  merged =
    one: other:
    one
    // mapAttrs (
      name: value: if one ? ${name} && !(isOption value) then merged one.${name} value else value
    ) other;
  configOf =
    module: module.config or (if module ? options || module ? imports then { } else module);

  evalModules =
    {
      modules,
      specialArgs ? { },
    }:
    let
      arguments = specialArgs // { inherit lib config options; };
      collect =
        module:
        let
          called = call arguments module;
        in
        concatLists (map collect (called.imports or [ ])) ++ [ called ];
      list = concatLists (map collect modules);
      options = optionsOf list;
      config = evaluate [ ] options (map (module: push true (configOf module)) list);
    in
    {
      inherit config options;
    };
in
{
  inherit evalModules;
  mkOption = attributes: attributes // { _type = "option"; };
  mkEnableOption = text: {
    _type = "option";
    type = lib.types.bool;
    default = false;
    description = "Whether to enable ${text}.";
  };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };

  types = {
    bool = simple "boolean" isBool;
    int = simple "signed integer" isInt;
    str = simple "string" isString;
    nonEmptyStr = simple "non-empty string" (value: isString value && value != "");
    path = simple "absolute path" (value: isPath value || (isString value && lib.hasPrefix "/" value));
    port = simple "16 bit unsigned integer; between 0 and 65535 (both inclusive)" (value: isInt value && value >= 0 && value <= 65535);
    package = simple "package" (value: isAttrs value && (value.type or "") == "derivation");
    enum = choices: simple "one of ${builtins.toJSON choices}" (value: elem value choices);
    # Whatever it is.
    anything = {
      name = "anything";
      check = _: true;
      merge = _: values: if all isAttrs values then builtins.foldl' (one: other: one // other) { } values else head values;
    };
    nullOr = type: type // {
      name = "null or ${type.name}";
      check = value: value == null || type.check value;
      merge = path: values: if all (value: value == null) values then null else type.merge path (filter (value: value != null) values);
    };
    listOf = type: {
      name = "list of ${type.name}";
      check = isList;
      emptyValue = [ ];
      merge =
        path: values:
        if all isList values then map (value: type.merge path [ value ]) (concatLists values) else fail path "is not of type `list of ${type.name}'";
    };
    nonEmptyListOf =
      type:
      removeAttrs (lib.types.listOf type) [ "emptyValue" ]
      // {
        name = "non-empty (list of ${type.name})";
        merge =
          path: values:
          let
            list = (lib.types.listOf type).merge path values;
          in
          if list == [ ] then fail path "is not of type `non-empty (list of ${type.name})'" else list;
      };
    attrsOf = type: {
      name = "attribute set of ${type.name}";
      check = isAttrs;
      emptyValue = { };
      merge =
        path: values:
        let
          definitions = map (push true) values;
          live = filter (definition: definition.condition) definitions;
          names = concatLists (map (definition: attrNames definition.content) live);
          entry =
            name:
            let
              found = filter (definition: definition.condition) (below name live);
            in
            {
              inherit name;
              value = type.merge (path ++ [ name ]) (map (definition: definition.content) found);
            };
        in
        if all isAttrs values then
          builtins.listToAttrs (map entry (filter (name: filter (d: d.condition) (below name live) != [ ]) names))
        else
          fail path "is not of type `attribute set of ${type.name}'";
    };
    submodule = module: {
      name = "submodule";
      check = isAttrs;
      merge =
        path: values:
        let
          called = call { inherit lib; name = builtins.elemAt path (length path - 1); } module;
        in
        evaluate path called.options (map (push true) values);
    };
  };
}
