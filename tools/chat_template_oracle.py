"""Chat templates as transformers renders them, for the tools that compare with it.

Needs transformers (its jinja2 environment is used as it is) and jinja2 >= 3.1.6. Time stands still:
strftime_now sees NOW, which tests/tokenizer/test_chat_input.h repeats.
"""

import datetime

from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 2, 3, 4, 5, 6)


def variables_of(row):
    """What the template sees: the members of the C++ struct ChatInput."""
    messages = chat_template_utils._alias_reasoning_fields(row.get("messages", []))
    variables = {
        "messages": messages,
        "tools": row.get("tools"),
        "documents": row.get("documents"),
        "add_generation_prompt": row.get("add_generation_prompt", True),
    }
    for name in ("bos_token", "eos_token"):
        if row.get(name):
            variables[name] = row[name]
    variables.update(row.get("variables") or {})
    return variables


def render(row):
    """(text, None), or (None, error) where rendering fails."""
    try:
        template = chat_template_utils._compile_jinja_template(row["source"])
    except Exception as error:  # syntax; some of it only Python's compiler finds
        return None, f"{type(error).__name__}: {error}"
    template.globals["strftime_now"] = NOW.strftime
    try:
        return template.render(**variables_of(row)), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
