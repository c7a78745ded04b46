"""The Sentence Transformers layout: what its small files say about a model. Nothing here needs torch."""

from collections.abc import Callable
from pathlib import Path

from course_lib.storage import CHECKPOINT

# The pooling modes of SentenceEncoder, and the flag that Sentence Transformers stored for each before version 6.
POOLING_FLAGS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}


def check_finished(folder: str | Path) -> None:
    """Raise ValueError for a folder with the checkpoint of a training that was interrupted."""
    if (Path(folder) / CHECKPOINT).is_file():
        finish = f"finish it, or delete {CHECKPOINT} to use it as it is"
        raise ValueError(f"the training in {folder} was interrupted; {finish}")


def read_settings(source: str | Path, read: Callable[[str], dict | list | None]) -> dict[str, object]:
    """How a model makes vectors from token vectors.

    source: the model, for messages.
    read: gives the content of one of its JSON files; None where there is no such file.
    Returns {"normalize", "similarity", "do_lower_case"} and, where the model names them, "pooling" and "max_length";
    {} for a model without modules.json.
    Raises ValueError for layers, similarities and prompts that SentenceEncoder does not have.
    """
    modules = read("modules.json")
    if modules is None:
        return {}
    kinds = {module["type"].rpartition(".")[2]: module for module in modules}
    if other := sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"}):
        raise _unknown(source, f"has a {other[0]} layer, which SentenceEncoder does not know")
    model = read("config_sentence_transformers.json") or {}
    similarity = model.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise _unknown(source, f"compares vectors by {similarity}; SentenceEncoder knows cosine and dot")
    if prompts := sorted(name for name, text in (model.get("prompts") or {}).items() if text):
        raise _unknown(source, f"puts a prompt before its texts ({', '.join(prompts)}), which SentenceEncoder does not")
    transformer = read("sentence_bert_config.json") or {}
    lower_case = bool(transformer.get("do_lower_case"))
    settings = {"normalize": "Normalize" in kinds, "similarity": similarity, "do_lower_case": lower_case}
    if transformer.get("max_seq_length"):
        settings["max_length"] = transformer["max_seq_length"]
    if "Pooling" in kinds:
        settings["pooling"] = _saved_pooling(source, read(f"{kinds['Pooling']['path']}/config.json") or {})
    return settings


def _saved_pooling(source, config):
    """The pooling in a Sentence Transformers pooling file: one flag per mode before version 6, then a name."""
    names = {flag: name for name, flag in POOLING_FLAGS.items()}
    flags = [names.get(key, key) for key, value in config.items() if key.startswith("pooling_mode_") and value]
    chosen = config.get("pooling_mode", flags)
    chosen = [chosen] if isinstance(chosen, str) else chosen
    if len(chosen) != 1 or chosen[0] not in POOLING_FLAGS:
        how = " and ".join(map(str, chosen)) or "nothing"
        raise _unknown(source, f"pools by {how}; SentenceEncoder knows {', '.join(POOLING_FLAGS)}")
    return chosen[0]


def _unknown(source, what):
    return ValueError(f"{source} {what}. Load it with sentence_transformers.SentenceTransformer")
