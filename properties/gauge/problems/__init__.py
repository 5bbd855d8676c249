"""Problems: recorded gradients that both sides are fed; how they are drawn, made and simplified."""
